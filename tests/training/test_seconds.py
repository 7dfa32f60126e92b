"""Seconds of training: time in steps alone, whatever else goes on."""

import pytest

from lmkit.evaluation.perplexity import Evaluation
from lmkit.training import loop
from lmkit.training.loop import progress_of
from lmkit.training.step import StepRecord, take_step


class Clock:
    """A clock that stands still but where a test moves it."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        for name in ("perf_counter", "monotonic", "time"):
            monkeypatch.setattr(f"time.{name}", lambda: self.now)
        real = take_step

        def step(*args, **options):
            self.now += 1
            return real(*args, **options)

        monkeypatch.setattr(loop, "take_step", step)

    def validate(self):
        self.now += 100
        return Evaluation(nll=20.0, tokens=10)


def test_seconds_are_time_in_steps_alone(make_training, monkeypatch):
    clock = Clock(monkeypatch)
    training = make_training(epochs=None, max_steps=10, eval_every=2, lr=0.1)
    for _ in training.run(clock.validate):
        clock.now += 1000  # what the caller does is not training
    assert training.train.elapsed == pytest.approx(10)


def test_training_stops_when_its_seconds_are_over(make_training, monkeypatch):
    clock = Clock(monkeypatch)
    training = make_training(epochs=None, max_seconds=7, eval_every=3, lr=0.1)
    records = []
    for record in training.run(clock.validate):
        records.append(record)
        clock.now += 1000
    trained = [isinstance(record, StepRecord) for record in records]
    assert sum(trained) == 7
    assert [record.step for record, step in zip(records, trained, strict=True) if not step] == [3, 6, 7]
    assert progress_of(training.train, training.sampler, training.config) == 1


def test_seconds_go_on_where_a_run_is_taken_up_again(make_training, monkeypatch):
    clock = Clock(monkeypatch)
    training = make_training(epochs=None, max_seconds=7, lr=0.1)
    run = training.run(clock.validate)
    for _ in range(3):
        next(run)
    run.close()
    clock.now += 1000
    assert sum(isinstance(record, StepRecord) for record in training.run(clock.validate)) == 4
