"""Steps that are not finite, or far out of line, move nothing; and a run with such steps resumes exactly."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

import lmkit.training.loop
from lmkit.config import Config
from lmkit.errors import ConfigError, NonFiniteError
from lmkit.run.checkpoints.packing import pack, unpack
from lmkit.samplers import IGNORE
from lmkit.session.session import Session
from lmkit.training.guard import MAX_SKIPPED_IN_A_ROW, Guard
from lmkit.training.loop import EvaluationRecord
from lmkit.training.step import StepRecord, take_step, train_step
from tests import runs
from tests.runs import write_text

OPTIMIZERS: dict[str, dict[str, Any]] = {"sgd": {"lr": 1.0}, "adamw": {"lr": 0.01, "schedule": "cosine"}}
Poison = Callable[[Mapping[int, str]], None]


class Poisoned:
    """A loss that is multiplied."""

    def __init__(self, loss: Any, factor: float) -> None:
        self.loss, self.factor = loss, factor

    def __call__(self, *arguments: Any) -> Any:
        loss = self.loss(*arguments)
        state = tuple(tuple(tensor * self.factor for tensor in layer) for layer in loss.state)
        return loss._replace(nll=loss.nll * self.factor, state=state)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Poison:
    """From now on the steps with these numbers go wrong: nan, inf (of the loss and the state), gradient (of the
    gradient alone: it overflows), or spike (a loss 1,000 times as large).
    """

    def call(kinds: Mapping[int, str]) -> None:
        def poisoned(train: Any, window: Any, update: Any, **rest: float) -> Any:
            kind = kinds.get(train.step + 1)
            if kind == "gradient":
                rest["targets_per_window"] = 1e-45
            elif kind is not None:
                factor = {"nan": math.nan, "inf": math.inf, "spike": 1000.0}[kind]
                update = dataclasses.replace(update, loss=Poisoned(update.loss, factor))
            return take_step(train, window, update, **rest)

        monkeypatch.setattr("lmkit.training.loop.take_step", poisoned)

    return call


def bits(train: Any) -> list[bytes]:
    """Weights, the optimiser's memory, the carried state and torch's generator."""
    state = train.state_dict()
    values = {name: state[name] for name in ("model", "optimizer", "carried", "generator", "guard")}
    return [bytes(part) for part in pack(values)]


# a step that is left out moves nothing


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("read_every", [1, 5])
def test_a_skipped_step_moves_nothing_but_the_place_in_the_data(
    make_training, poison: Poison, kind: str, optimizer: str, read_every: int
):
    poison({6: kind})
    options = {"optimizer": optimizer, "on_nonfinite": "skip", **OPTIMIZERS[optimizer]}
    training = make_training(read_every=read_every, epochs=3, eval_every=5, **options)
    seen: dict[int, Any] = {}
    train = training.train
    step_of_the_loop: Any = vars(lmkit.training.loop)["take_step"]
    for step, window in enumerate(islice(training.sampler.epoch(0), 6), 1):
        step_of_the_loop(train, window, training.update, lr=0.01, targets_per_window=32.0)
        seen[step] = {name: copy.deepcopy(value) for name, value in train.state_dict().items()}
    before, after = seen[5], seen[6]
    for name in ("model", "optimizer", "carried"):
        one, other = (copy.deepcopy(state[name]) for state in (before, after))
        assert pack(one) == pack(other), name
    assert after["place"][:3] == (0, 6, 6)
    assert all(torch.isfinite(parameter).all() for parameter in train.model.parameters())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_with_a_skipped_step_is_one_that_never_saw_its_text(make_training, poison: Poison, optimizer: str):
    """Step by step, with the same learning rates: the state goes on from the step before it."""
    options = {"optimizer": optimizer, "on_nonfinite": "skip", **OPTIMIZERS[optimizer], "schedule": "constant"}
    poison({3: "nan"})
    guarded = make_training(**options, epochs=1)
    records = list(guarded.run())
    assert len(records) > 6
    poison({})
    plain = make_training(**options, epochs=1)
    windows = list(plain.sampler.epoch(0))
    targets = plain.sampler.num_targets / len(windows)
    for number, window in enumerate(windows, 1):
        if number != 3:
            train_step(plain.train, window, plain.update, lr=options["lr"], targets_per_window=targets)
    assert pack(guarded.train.model.state_dict()) == pack(plain.train.model.state_dict())
    assert pack(guarded.train.optimizer.state_dict()) == pack(plain.train.optimizer.state_dict())


def test_adamw_does_not_count_skipped_steps(make_training, poison: Poison):
    for read_every in (1, 20):
        poison({2: "nan", 5: "inf", 6: "gradient"})
        training = make_training(optimizer="adamw", lr=0.01, on_nonfinite="skip", read_every=read_every, max_steps=9)
        list(training.run())
        counts = {float(memory["step"]) for memory in training.train.optimizer.state.values()}
        assert counts == {6.0}


def test_skipped_steps_are_counted_told_of_and_in_no_sum(make_training, poison: Poison):
    poison({3: "nan", 5: "inf", 6: "gradient"})
    training = make_training(on_nonfinite="skip", max_steps=8)
    records = list(training.run())
    assert [record.step for record in records] == list(range(1, 9))
    assert [len(record.skipped) for record in records] == [0, 0, 1, 0, 1, 1, 0, 0]
    for record in records:
        assert (record.tokens == 0) == bool(record.skipped)
        assert math.isfinite(record.nll)
        assert math.isfinite(record.grad_norm)
    (third,) = records[2].skipped
    assert (third.step, third.epoch, third.index, third.reason) == (3, 0, 2, "nonfinite")
    assert math.isnan(third.nats_per_token)
    (sixth,) = records[5].skipped
    assert math.isfinite(sixth.nats_per_token)
    assert not math.isfinite(sixth.grad_norm)
    assert sixth.norms.keys() == dict(training.train.model.named_parameters()).keys()
    guard = training.train.guard
    assert (guard.skipped, guard.skipped_in_a_row) == (3, 0)


@pytest.mark.parametrize("read_every", [1, 4, 20])
def test_ten_bad_steps_in_a_row_end_a_run_and_nine_do_not(make_training, poison: Poison, read_every: int):
    nine = range(3, 3 + MAX_SKIPPED_IN_A_ROW - 1)
    poison(dict.fromkeys(nine, "nan"))
    training = make_training(on_nonfinite="skip", epochs=4, read_every=read_every)
    list(training.run())
    assert training.train.guard.skipped == 9
    poison(dict.fromkeys([*nine, 12], "nan"))
    training = make_training(on_nonfinite="skip", epochs=4, read_every=read_every)
    before = None
    with pytest.raises(NonFiniteError, match=r"Step 12: .* 10th step in a row"):
        for record in training.run():
            before = record.step
    assert before is not None or read_every == 20
    poison({step: "nan" for step in range(1, 40) if step % 10})
    list(make_training(on_nonfinite="skip", epochs=4, read_every=read_every).run())


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_under_raise_the_first_bad_step_ends_a_run_that_is_as_before_it(
    make_training, poison: Poison, kind: str, optimizer: str
):
    clean = make_training(optimizer=optimizer, **OPTIMIZERS[optimizer], epochs=2)
    list(islice(clean.run(), 4))
    poison({5: kind})
    training = make_training(optimizer=optimizer, **OPTIMIZERS[optimizer], epochs=2)
    with pytest.raises(NonFiniteError, match="Step 5: ") as caught:
        list(training.run())
    assert bits(training.train) == bits(clean.train)
    assert (training.train.step, training.train.index) == (4, 4)
    skipped: Any = caught.value.skipped
    assert (skipped.step, skipped.epoch, skipped.index, skipped.reason) == (5, 0, 4, "nonfinite")
    assert skipped.norms.keys() == dict(training.train.model.named_parameters()).keys()


def test_the_norms_of_a_step_that_was_left_out_are_those_before_clipping(make_training, poison: Poison):
    poison({90: "spike"})
    training = make_training(skip_spikes=True, max_grad_norm=1e-3, epochs=20, lr=1e-3)
    (lost,) = (one for record in training.run() for one in record.skipped)
    assert math.hypot(*lost.norms.values()) == pytest.approx(lost.grad_norm, rel=1e-5)


def test_the_norms_of_a_bad_step_tell_where_it_is_bad(make_training, monkeypatch: pytest.MonkeyPatch):
    training = make_training(on_nonfinite="skip")
    training.train.model.head.bias.register_hook(lambda gradient: gradient * math.inf)
    record = next(training.run())
    assert isinstance(record, StepRecord)
    norms = record.skipped[0].norms
    assert not math.isfinite(norms.pop("head.bias"))
    assert all(0 < norm < 100 for name, norm in norms.items() if "recurrent" in name or "head" in name)


# a device that is read now and then


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("bad", "spikes"),
    [({}, False), ({3: "nan", 4: "inf", 12: "gradient", 20: "nan", 21: "nan"}, True)],
    ids=["good", "bad"],
)
def test_reading_now_and_then_gives_the_same_bits(
    make_training, poison: Poison, optimizer: str, bad: dict[int, str], spikes: bool
):
    poison({**bad, 90: "spike"} if spikes else bad)
    options: dict[str, Any] = {"optimizer": optimizer, "on_nonfinite": "skip", "skip_spikes": spikes, "dropout": 0.3}
    found = []
    for read_every in (1, 20, 7):
        training = make_training(read_every=read_every, epochs=15, **options, **OPTIMIZERS[optimizer])
        records = [record for record in training.run() if isinstance(record, StepRecord)]
        train = training.train
        skipped = [(one.step, one.reason) for record in records for one in record.skipped]
        assert skipped == [(step, "nonfinite") for step in bad] + ([(90, "spike")] if spikes else [])
        assert len(records) < train.step or read_every == 1
        found.append((bits(train), train.tokens, sum(record.tokens for record in records)))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "options", [{"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adam"}, {"optimizer": "adagrad"}], ids=str
)
def test_a_bad_first_step_leaves_no_memory_however_it_is_read(make_training, poison: Poison, options: dict[str, Any]):
    poison({1: "nan", 5: "inf", 6: "gradient"})
    found = []
    for read_every in (1, 7):
        training = make_training(read_every=read_every, max_steps=9, lr=0.01, on_nonfinite="skip", **options)
        list(training.run())
        assert all(bool(torch.isfinite(one).all()) for one in training.train.model.parameters())
        found.append(bits(training.train))
    assert found[0] == found[1]


def test_a_step_that_is_left_out_is_not_in_the_mean_however_it_is_read(make_training, poison: Poison):
    poison({3: "nan", 5: "inf", 6: "gradient"})
    found = []
    for read_every in (1, 7):
        options = {"average": "ema", "average_decay": 0.8, "on_nonfinite": "skip", "max_steps": 9, "epochs": None}
        training = make_training(read_every=read_every, **options)
        list(training.run())
        assert int(training.train.average.count) == 6
        found.append(pack(training.train.state_dict()["average"]))
    assert found[0] == found[1]
    poison({})
    windows = [0, 1, 3, 6, 7, 8]
    plain = make_training(**options)
    sampled = list(plain.sampler.epoch(0)) + list(plain.sampler.epoch(1))
    targets = [plain.sampler.num_targets / plain.sampler.num_windows(epoch) for epoch in (0, 1)]
    for index in windows:
        epoch = index >= plain.sampler.num_windows(0)
        plain.train.average.before_step(plain.train.model, plain.train.step, 0.0)
        train_step(plain.train, sampled[index], plain.update, lr=1.0, targets_per_window=targets[epoch])
    assert pack(plain.train.state_dict()["average"]) == found[0]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_reading_now_and_then_stops_at_a_bad_step_under_raise(make_training, poison: Poison, optimizer: str):
    """The steps that were sent off after it have moved no weight."""
    clean = make_training(optimizer=optimizer, lr=0.01, epochs=3, batch_size=2)
    list(islice(clean.run(), 10))
    poison({11: "nan"})
    training = make_training(optimizer=optimizer, lr=0.01, epochs=3, batch_size=2, read_every=20)
    with pytest.raises(NonFiniteError, match="Step 11: the loss is nan"):
        list(training.run())
    assert training.train.step > 11, "it was read after more steps"
    one, other = training.train.state_dict(), clean.train.state_dict()
    assert pack(one["model"]) == pack(other["model"])
    assert pack(one["optimizer"]["state"]) == pack(other["optimizer"]["state"])


# spikes


def judged(guard: Guard, loss: float, norm: float = 1.0) -> bool:
    return bool(guard.judge(torch.tensor(loss), torch.tensor(norm)))


def test_a_spike_is_beyond_six_sigma_of_the_last_128_once_there_are_64():
    draw = random.Random(1)
    guard = Guard()
    history: list[tuple[float, float]] = []
    verdicts = []
    for step in range(400):
        loss, norm = draw.gauss(3, 0.1), draw.gauss(1, 0.05)
        if step in (30, 63, 64, 100, 300):
            loss, norm = (loss + 2, norm) if step % 2 else (loss, norm + 2)
        recent = torch.tensor(history[-128:], dtype=torch.float64)
        expected = False
        if len(history) >= 64:
            limits = recent.mean(0) + 6 * recent.std(0, correction=0)
            expected = bool(loss > limits[0] or norm > limits[1])
        assert judged(guard, loss, norm) == expected, step
        verdicts.append(expected)
        history.append((loss, norm))
    assert [step for step, spike in enumerate(verdicts) if spike][:2] == [64, 100] or verdicts[300]


@pytest.mark.parametrize(("sigmas", "spike"), [(5.9, False), (6.1, True)])
def test_the_border_is_at_six_sigma(sigmas: float, spike: bool):
    guard = Guard()
    for step in range(128):
        judged(guard, 3.0 + (0.1 if step % 2 else -0.1), 1.0)
    assert judged(guard, 3.0 + sigmas * 0.1, 1.0) == spike


def test_a_lasting_change_of_level_is_not_skipped_for_ever():
    guard = Guard()
    for step in range(128):
        judged(guard, 3 + 0.01 * (step % 2))
    skipped = 0
    while judged(guard, 9.0):
        skipped += 1
        assert skipped < 20
    assert skipped > 0


def test_steps_that_are_not_finite_are_not_remembered():
    guard, plain = Guard(), Guard()
    for step in range(70):
        judged(guard, 3 + 0.1 * (step % 3))
        judged(plain, 3 + 0.1 * (step % 3))
    for _ in range(5):
        judged(guard, math.nan, math.nan)
        judged(guard, math.inf)
    assert [judged(guard, loss) for loss in (3.1, 9.0)] == [judged(plain, loss) for loss in (3.1, 9.0)] == [False, True]


def test_a_constant_loss_has_no_spikes_of_nothing():
    guard = Guard()
    assert not any(judged(guard, 2.0) for _ in range(200))


def test_a_guard_s_memory_comes_back():
    guard = Guard()
    for step in range(90):
        judged(guard, 3 + 0.1 * (step % 3))
    other = Guard()
    other.load_state_dict(unpack(*pack(guard.state_dict())))
    assert pack(other.state_dict()) == pack(guard.state_dict())
    assert judged(guard, 3.31) == judged(other, 3.31)
    assert pack(other.state_dict()) == pack(guard.state_dict())


def test_spikes_are_left_alone_unless_asked_for(make_training, poison: Poison):
    poison({90: "spike"})
    skipped = {}
    for skip_spikes in (False, True):
        training = make_training(skip_spikes=skip_spikes, epochs=15, lr=0.1)
        skipped[skip_spikes] = [one for record in training.run() for one in record.skipped]
    assert skipped[False] == []
    assert [(one.step, one.reason) for one in skipped[True]] == [(90, "spike")]


# float16's scaler


def test_a_gradient_scaler_comes_back_with_its_training(make_training):
    """As float16 on a GPU has it; a scaler on a CPU is the same one."""

    def make() -> Any:
        training = make_training(optimizer="adamw", lr=0.01, on_nonfinite="skip", epochs=4)
        scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=2.0**10, growth_interval=7)
        training.train.scaler = scaler
        return training

    whole = make()
    expected = list(whole.run())
    scales = whole.train.scaler.state_dict()
    assert scales["scale"] > 2.0**10, "it grows while all is well"
    stopped = make()
    run = stopped.run()
    records = list(islice(run, 11))
    run.close()
    values = unpack(*pack(stopped.train.state_dict()))
    assert values["scaler"]["_growth_tracker"] == 11 % 7
    fresh = make()
    fresh.train.load_state_dict(values)
    records += list(fresh.run())
    assert records == expected
    assert fresh.train.scaler.state_dict() == scales
    assert bits(fresh.train) == bits(whole.train)


def test_a_scaler_s_own_overflow_is_no_bad_step(make_training, poison: Poison):
    poison({4: "gradient"})
    training = make_training(optimizer="adamw", lr=0.01, epochs=2)
    training.train.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=2.0**10)
    list(training.run())
    assert training.train.scaler.get_scale() == 2.0**9
    assert training.train.guard.skipped == 0
    assert {float(memory["step"]) for memory in training.train.optimizer.state.values()} == {training.train.step - 1}


# whole runs, through their folders


SMALL: dict[str, Any] = {**runs.SMALL, "max_steps": 30, "eval_every": 9}
Make = Callable[..., Session]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    text = write_text(tmp_path)

    def call(name: str, warn: Callable[[str], None] = lambda text: None, **options: Any) -> Session:
        config = Config().override({**SMALL, "corpus": str(text), **options})
        return Session(config, tmp_path / name, warn=warn)

    return call


def finish(session: Session) -> None:
    list(session.records())
    session.close()
    assert session.unsaved is None


def leave(session: Session, step: int, *, crash: bool) -> Path:
    """Train to a step; then stop there, or leave what a crash would."""
    with closing(session.records()) as records:
        for record in records:
            if isinstance(record, StepRecord) and record.step == step:
                break
    if crash:
        session.release()
    else:
        session.stop()
    return session.run.path


def contents(run: Path) -> dict[str, bytes]:
    last = max((run / "checkpoints").glob("step-*"))
    kept = [path for path in last.iterdir() if path.name not in ("clock.json", "manifest.json")]
    kept += [run / "model.safetensors", run / "metrics.jsonl", *(run / "reports").glob("*")]
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in kept}


def assert_same(run: Path, other: Path) -> None:
    one, two = contents(run), contents(other)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


POLICIES: dict[str, tuple[dict[str, Any], dict[int, str]]] = {
    "skip": ({"on_nonfinite": "skip"}, {4: "nan", 12: "gradient", 13: "inf", 14: "nan", 25: "inf"}),
    "spikes": ({"on_nonfinite": "skip", "skip_spikes": True, "max_steps": 90}, {70: "spike", 73: "nan", 85: "spike"}),
    "rollback": ({"on_nonfinite": "rollback", "checkpoint_every": 5}, {3: "nan", 13: "inf", 14: "nan", 20: "gradient"}),
}


@pytest.mark.parametrize(
    ("policy", "optimizer", "crash"),
    [("skip", "sgd", True), ("skip", "adamw", False), ("spikes", "adamw", False), ("rollback", "sgd", True)],
)
def test_a_run_with_bad_steps_resumes_exactly(make: Make, poison: Poison, policy: str, crash: bool, optimizer: str):
    options, bad = POLICIES[policy]
    poison(bad)
    options = {"optimizer": optimizer, "checkpoint_every": 7, **OPTIMIZERS[optimizer], "dropout": 0.2, **options}
    whole = make("whole", **options)
    finish(whole)
    assert whole.train.guard.skipped == len(bad)
    for step in {"skip": (13, 22), "spikes": (71,), "rollback": (13, 20)}[policy]:
        run = leave(make(f"run-{step}", **options), step, crash=crash)
        finish(Session.resume(run))
        assert_same(run, whole.run.path)


def test_a_rollback_takes_the_weights_of_the_last_fixed_checkpoint_and_the_next_text(make: Make, poison: Poison):
    poison({13: "nan"})
    warnings: list[str] = []
    options = {"on_nonfinite": "rollback", "checkpoint_every": 10, "keep_checkpoints": 1, "eval_every": 4}
    options |= {"average": "ema"}
    session = make("run", warnings.append, **options)
    seen: dict[int, Any] = {}
    for record in session.records():
        if isinstance(record, StepRecord):
            state = session.train.state_dict()
            seen[record.step] = pack([state["model"], state["optimizer"]["state"], state["average"]])
            if record.step == 13:
                assert (session.train.index, session.train.carried) == (13, None)
                assert session.train.guard.rollbacks == 1
    assert seen[13] == seen[10], "step 12 was validated and saved as the best, but is no multiple of 10"
    assert seen[12] != seen[10] != seen[11]
    assert seen[14] != seen[13]
    assert any("back to the weights of step 10" in warning for warning in warnings)
    assert sum("Step 13 was not finite: see" in warning for warning in warnings) == 1


def test_a_rollback_before_the_first_checkpoint_goes_back_to_the_beginning(make: Make, poison: Poison):
    poison({3: "nan"})
    session = make("run", on_nonfinite="rollback", checkpoint_every=5)
    first = pack(session.model.state_dict())
    with closing(session.records()) as records:
        for record in records:
            if record.step == 3:
                break
    assert pack(session.model.state_dict()) == first
    assert not session.train.optimizer.state


def test_rollbacks_that_do_not_help_end_the_run(make: Make, poison: Poison):
    poison({step: "nan" for step in range(2, 30, 2)})
    session = make("run", on_nonfinite="rollback", checkpoint_every=25)
    with pytest.raises(NonFiniteError, match="10 rollbacks since"):
        list(session.records())
    assert session.train.guard.rollbacks == 10


def test_a_rollback_needs_fixed_checkpoints():
    with pytest.raises(ConfigError, match="--checkpoint-every"):
        Config().override({"on_nonfinite": "rollback"})


@pytest.mark.parametrize("kind", ["nan", "gradient"])
def test_a_report_tells_of_the_step_and_its_text(make: Make, poison: Poison, kind: str):
    poison({8: kind})
    session = make("run", on_nonfinite="skip")
    finish(session)
    (path,) = (session.run.path / "reports").iterdir()
    assert path.name == "step-00000008.json"
    report = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert (report["step"], report["epoch"], report["index"], report["reason"]) == (8, 0, 7, "nonfinite")
    window = next(session.sampler.epoch(0, 7))
    tokenizer = session.corpus.tokenizer
    assert report["text"] == [tokenizer.decode(row[row != IGNORE].numpy()) for row in window.targets]
    assert all(len(row) == 16 for row in report["text"])
    assert report["norms"].keys() == dict(session.model.named_parameters()).keys()
    assert report["grad_norm"] is None
    assert (report["nats_per_token"] is None) == (kind == "nan")


def test_under_raise_the_report_is_there_and_the_run_can_be_resumed_from_before(make: Make, poison: Poison):
    whole = make("whole", checkpoint_every=5)
    finish(whole)
    poison({13: "nan"})
    session = make("run", checkpoint_every=5)
    with pytest.raises(NonFiniteError, match="Step 13"):
        list(session.records())
    session.release()
    assert json.loads((session.run.path / "reports" / "step-00000013.json").read_text())["step"] == 13
    with pytest.raises(NonFiniteError, match="Step 13"):  # the same text comes again
        list(Session.resume(session.run.path).records())
    poison({})
    resumed = Session.resume(session.run.path)
    assert resumed.started_at == 10
    finish(resumed)
    assert (session.run.path / "metrics.jsonl").read_bytes() == (whole.run.path / "metrics.jsonl").read_bytes()
    assert (session.run.path / "model.safetensors").read_bytes() == (whole.run.path / "model.safetensors").read_bytes()


def test_metrics_count_the_skipped_steps_and_leave_them_out_of_the_sums(make: Make, poison: Poison):
    poison({3: "nan", 8: "inf", 25: "nan"})
    session = make("run", on_nonfinite="skip")
    steps = [record for record in session.records() if not isinstance(record, EvaluationRecord)]
    session.close()
    lines = [json.loads(line) for line in (session.run.path / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if line["kind"] == "training"]
    assert [(line["step"], line["skipped"]) for line in training] == [(20, 2), (30, 1)]
    assert [line["tokens_scored"] for line in training] == [
        sum(record.tokens for record in part) for part in (steps[:20], steps[20:])
    ]
