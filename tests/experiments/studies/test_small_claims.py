"""The rules of the small experiments, on outcomes that nobody has measured, and what they measure with."""

from __future__ import annotations

import pytest
import torch

from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.engine.engine import scale_of
from lmkit.experiments.studies.gradients.one_unit import LINEAR, WEIGHTS, OneUnit, arm_name
from lmkit.experiments.studies.memory.forgetting import ForgettingCurve
from lmkit.experiments.studies.memory.loop import CARRIED, RESET, WINDOWED, Loop
from lmkit.experiments.studies.memory.word_classes import (
    ALONE,
    AMBIGUOUS,
    TRAINED,
    UNTRAINED,
    LabelledWords,
    WordClasses,
)
from lmkit.experiments.studies.text.own_output import TEMPERATURES, OwnOutput


def spread(value: float, by: float = 1e-3) -> list[float]:
    """Five values that differ hardly."""
    return [value + by * seed for seed in range(-2, 3)]


@pytest.mark.parametrize(
    ("losses", "word"),
    [
        ({RESET: 2.5, CARRIED: 2.2, WINDOWED: 2.0}, "holds"),
        ({RESET: 2.5, CARRIED: 2.6, WINDOWED: 2.0}, "partly"),
        ({RESET: 2.5, CARRIED: 2.5, WINDOWED: 2.5}, "refuted"),
    ],
)
def test_the_loop_is_judged_by_both_networks_that_have_one(invent, losses, word):
    (verdict,) = Loop().judge(invent(Loop(), lambda arm: [{"test": one} for one in spread(losses[arm])]))
    assert verdict.word == word


def test_a_network_without_a_loop_is_read_without_one(tmp_path):
    """Its loss on a text is the mean of losses that depend on one character each."""
    experiment = Loop()
    scale = scale_of(experiment, quick=True)
    arm = next(arm for arm in experiment.arms(scale) if arm.name == RESET)
    found = experiment.measure(Trial(arm, arm.choices[0], 1, scale, tmp_path, tmp_path))
    from lmkit.api import load

    model = load(tmp_path / "run", checkpoint="last")
    _, test = model.split_tokens("test")
    ids = torch.tensor(test.ids[:].tolist())
    inputs = torch.cat([torch.tensor([model.tokenizer.eos_id]), ids[:-1]])
    with torch.inference_mode():
        logits, _ = model.model(inputs[:, None], model.model.initial_state(len(inputs)))
    loss = torch.nn.functional.cross_entropy(logits[:, 0], ids)
    assert found["test"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("errors", "word"),
    [
        ({TRAINED: 0.01, UNTRAINED: 0.2, ALONE: 0.4}, "holds"),
        ({TRAINED: 0.2, UNTRAINED: 0.2, ALONE: 0.4}, "partly"),
        ({TRAINED: 0.4, UNTRAINED: 0.4, ALONE: 0.4}, "refuted"),
    ],
)
def test_classes_are_judged_against_the_word_alone_and_the_untrained_network(invent, errors, word):
    def values(arm: str) -> list[dict[str, float]]:
        return [{"error": one, "shuffled": 0.5} for one in spread(errors[arm])][: 1 if arm == ALONE else None]

    (verdict,) = WordClasses().judge(invent(WordClasses(), values))
    assert verdict.word == word


def test_only_ambiguous_words_beyond_the_fitted_ones_are_asked_for():
    words = LabelledWords.drawn(3000)
    assert {"saw", "felt", "cut", "hit", "fast", "hard"} == AMBIGUOUS
    assert words.error(words.classes) == 0.0
    wrong = words.classes.clone()
    wrong[: words.fitted] = -1
    wrong[[word not in AMBIGUOUS for word in words.words]] = -1
    assert words.error(wrong) == 0.0
    assert words.error(torch.full_like(wrong, -1)) == 1.0


def test_the_word_alone_tells_the_class_of_all_words_but_the_ambiguous():
    words = LabelledWords.drawn(6000)
    usual = words.usual_class()
    right = [place for place, word in enumerate(words.words) if word not in AMBIGUOUS]
    assert torch.equal(usual[right], words.classes[right])
    assert 0.1 < words.error(usual) < 0.6


def test_one_unit_multiplies(invent, tmp_path):
    experiment = OneUnit()
    scale = scale_of(experiment)
    arms = {arm.name: arm for arm in experiment.arms(scale)}
    found = {name: experiment.measure(Trial(arm, {}, 1, scale, tmp_path, tmp_path)) for name, arm in arms.items()}
    assert found[arm_name(LINEAR, 0.1)]["oldest"] == pytest.approx(0.0001, rel=1e-9)
    (verdict,) = experiment.judge(invent(experiment, lambda arm: [found[arm]] * 2))
    assert verdict.word == "partly"
    assert "0.1: 0.0001" in verdict.because
    spoiled = {name: {**one, "oldest": one["oldest"] * 1.01} for name, one in found.items()}
    assert experiment.judge(invent(experiment, lambda arm: [spoiled[arm]] * 2))[0].word == "refuted"
    assert len(WEIGHTS) == len({arm for arm in arms if arm.startswith(LINEAR)})


@pytest.mark.parametrize(("difference", "word"), [(0.001, "holds"), (0.2, "refuted"), (-0.2, "refuted")])
def test_own_output_is_judged_by_its_entropy(invent, difference, word):
    names = [f"t{temperature:g}_{key}" for temperature in TEMPERATURES for key in ("loss", "entropy", "difference")]

    def values(arm: str) -> list[dict[str, float]]:
        return [{**dict.fromkeys(names, 2.0), "test": 2.1, "t1_difference": one} for one in spread(difference)]

    (verdict,) = OwnOutput().judge(invent(OwnOutput(), values))
    assert verdict.word == word


@pytest.mark.parametrize(
    ("change", "left", "word"),
    [(0.5, 0.3, "holds"), (0.5, 0.01, "partly"), (0.01, 0.3, "refuted"), (0.1, 0.3, "undecided")],
)
def test_the_state_is_judged_by_its_changes_and_by_what_is_left(invent, change, left, word):
    def values(arm: str) -> list[dict[str, float]]:
        return [{"change": one, "left": other} for one, other in zip(spread(change), spread(left), strict=True)]

    (verdict,) = ForgettingCurve().judge(invent(ForgettingCurve(), values))
    assert verdict.word == word
