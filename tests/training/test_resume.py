"""A run that is stopped and taken up again is the run that was not, to the last bit."""

import io
from itertools import islice
from typing import Any

import pytest
import torch

from lmkit.evaluation.perplexity import Evaluation, evaluate
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.samplers import stream_windows
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord


def validation_of(training):
    """The model's own figure on a text, which a difference in one bit would show in."""
    stream = training.sampler.stream[:50]
    predictor = NetworkPredictor(training.train.model)
    return lambda: evaluate(predictor, stream_windows(stream, eos_id=11, window=10))


def stored(train):
    """Through the bytes of a file, as a checkpoint goes."""
    file = io.BytesIO()
    torch.save(train.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def completed(training):
    """The records of a whole run. Dropout draws from torch's generator, which the making of a run seeds: so a run is
    completed before the next one is made."""
    return list(training.run(validation_of(training)))


def weights(training):
    return [parameter.detach().clone() for parameter in training.train.model.parameters()]


RUNS: dict[str, dict[str, Any]] = {
    "sgd, lstm": {"optimizer": "sgd", "cell": "lstm", "lr": 2.0},
    "sgd, gru, patience": {"optimizer": "sgd", "cell": "gru", "lr": 8.0, "patience": 3},
    "adamw, lstm, two layers": {"optimizer": "adamw", "cell": "lstm", "num_layers": 2, "lr": 0.01},
    "adamw, gru, tied": {"optimizer": "adamw", "cell": "gru", "tie_embeddings": True, "lr": 0.01},
    "adamw, rnn, random": {"optimizer": "adamw", "cell": "rnn", "sampler": "random", "lr": 0.01},
    "sgd, irnn, documents": {"optimizer": "sgd", "cell": "irnn", "sampler": "document", "lr": 0.5},
    "adamw, lstm, coupled": {"optimizer": "adamw", "input_gate": "coupled", "projection_size": 5, "lr": 0.01},
    "sgd, lstm, learned state": {"optimizer": "sgd", "sampler": "document", "initial_state": "learned", "lr": 1.0},
    "sgd, lstm, regularised": {
        "optimizer": "sgd",
        "cell": "lstm",
        "locked_dropout": True,
        "weight_drop": 0.5,
        "embedding_type_dropout": 0.2,
        "ar_alpha": 2.0,
        "tar_beta": 1.0,
        "window_jitter": 2,
        "drop_state": 0.2,
    },
    "adamw, qrnn, residual, attention": {
        "optimizer": "adamw",
        "cell": "qrnn",
        "block": "residual",
        "attention": 12,
        "num_layers": 2,
        "lr": 0.01,
    },
    "adamw, gru, unfrozen each epoch": {
        "optimizer": "adamw",
        "cell": "gru",
        "num_layers": 2,
        "freeze": ("layers.1",),
        "unfreeze_every": "epoch",
        "lr_decay_per_layer": 2.0,
        "lr": 0.01,
    },
    "sgd, lstm, unfrozen by steps": {"optimizer": "sgd", "momentum": 0.5, "unfreeze_every": 4, "lr": 1.0},
    "sgd, gru, k1k2": {
        "optimizer": "sgd",
        "cell": "gru",
        "truncation": "k1k2",
        "k1": 5,
        "weight_drop": 0.2,
        "epochs": 2,
    },
    "sgd, lstm, artbp": {"optimizer": "sgd", "cell": "lstm", "truncation": "artbp", "artbp_chunk": 3, "attention": 5},
    "sgd, rnn, random lengths": {"optimizer": "sgd", "cell": "rnn", "truncation": "random", "lr": 0.5},
    "sgd, gru, whole documents": {"cell": "gru", "truncation": "none", "sampler": "document"},
    "sgd, lstm, burn-in": {"optimizer": "sgd", "cell": "lstm", "sampler": "random", "burn_in": 5},
    "sgd, lstm, adaptive": {"optimizer": "sgd", "cell": "lstm", "head": "adaptive", "cutoffs": (3, 7)},
}


# each sampler and both optimisers, with patience, and with all that draws or keeps something in a step
FEW = ["sgd, gru, patience", "adamw, rnn, random", "sgd, irnn, documents", "sgd, lstm, regularised"]
of_few_kinds = pytest.mark.parametrize("options", FEW, indirect=True)


@pytest.fixture(params=sorted(RUNS))
def options(request):
    return {"dropout": 0.3, "epochs": 3, "eval_every": 5, **RUNS[request.param]}


@pytest.mark.parametrize(
    ("options", "before_a_validation"),
    [*((name, False) for name in sorted(RUNS)), *((name, True) for name in FEW)],
    indirect=["options"],
)
def test_resume_equals_uninterrupted(make_training, options, before_a_validation):
    whole = make_training(**options)
    expected = completed(whole)
    validated = [isinstance(record, EvaluationRecord) for record in [*expected[1:], expected[0]]]
    stops = [number for number, due in enumerate(validated, 1) if due == before_a_validation]
    for stop in stops if before_a_validation else [*stops[::7], len(expected)]:
        first = make_training(**options)
        run = first.run(validation_of(first))
        records = list(islice(run, stop))
        checkpoint = stored(first.train)
        run.close()

        second = make_training(seed=99, **options)  # other weights and another generator: nothing may be left of them
        second.train.load_state_dict(checkpoint)
        records += completed(second)
        assert records == expected
        assert all(map(torch.equal, weights(second), weights(whole)))


@of_few_kinds
def test_leaving_the_loop_and_entering_it_again_equals_staying(make_training, options):
    whole = make_training(**options)
    expected = completed(whole)
    broken = make_training(**options)
    records: list[StepRecord | EvaluationRecord] = []
    while found := list(islice(broken.run(validation_of(broken)), 1)):
        records += found
        assert len(records) <= len(expected)
    assert records == expected
    assert all(map(torch.equal, weights(broken), weights(whole)))


@of_few_kinds
def test_saving_changes_nothing(make_training, options):
    expected = completed(make_training(**options))
    watched = make_training(**options)
    records = []
    for record in watched.run(validation_of(watched)):
        records.append(record)
        stored(watched.train)
    assert records == expected


@of_few_kinds
def test_validating_leaves_no_trace_in_the_training(make_training, options):
    options = {**options, "schedule": "constant", "patience": None}
    plain = make_training(**options)
    expected = list(plain.run())
    validated = make_training(**{**options, "eval_every": 1})
    assert [record for record in completed(validated) if isinstance(record, StepRecord)] == expected
    assert all(map(torch.equal, weights(plain), weights(validated)))


@of_few_kinds
def test_same_seed_same_run_and_another_seed_another(make_training, options):
    records = [completed(make_training(seed=seed, **options)) for seed in (1, 1, 2)]
    assert records[0] == records[1]
    assert records[0] != records[2]


def test_a_checkpoint_is_a_copy_that_later_steps_do_not_touch(make_training):
    training = make_training(optimizer="adamw", dropout=0.3)
    run = training.run()
    list(islice(run, 3))
    checkpoint = stored(training.train)
    again = stored(training.train)
    list(islice(run, 3))
    training.train.load_state_dict(checkpoint)
    assert training.train.step == 3
    for key, value in training.train.model.state_dict().items():
        assert value.equal(again["model"][key]), key


def test_the_place_in_the_data_and_all_counts_come_back(make_training):
    training = make_training(epochs=3, eval_every=4, lr=5.0)
    for record in training.run(lambda: Evaluation(nll=10.0, tokens=5)):
        if record.step == 10:
            break
    train = training.train
    fresh = make_training(seed=3, epochs=3, eval_every=4, lr=5.0).train
    fresh.load_state_dict(stored(train))
    for name in ("epoch", "index", "step", "tokens", "elapsed", "validations"):
        assert getattr(fresh, name) == getattr(train, name), name
    assert fresh.validations.factor == 1 / 4
    assert fresh.carried is not None
    assert train.carried is not None
    for layer, other in zip(fresh.carried, train.carried, strict=True):
        assert all(map(torch.equal, layer, other))


def test_a_state_at_the_very_beginning_can_be_stored(make_training):
    training = make_training(dropout=0.3)
    checkpoint = stored(training.train)
    expected = list(training.run())
    fresh = make_training(seed=5, dropout=0.3)
    fresh.train.load_state_dict(checkpoint)
    assert fresh.train.carried is None
    assert list(fresh.run()) == expected
