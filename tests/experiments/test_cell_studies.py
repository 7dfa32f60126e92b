"""The rules of the experiments on what networks do, on outcomes that are made up, and what they measure."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

import lmkit
from lmkit.config import Config
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.experiments.contract.verdict import Word
from lmkit.experiments.studies.cells.dynamics import longest_counted
from lmkit.experiments.studies.cells.gates import answer_in_text, bracket_depth, recall_shares
from lmkit.experiments.tools.items import answer_losses
from lmkit.model.language_model import LanguageModel
from lmkit.text.sources.generated.alphabet import Alphabet
from lmkit.text.sources.generated.counting import Counting
from lmkit.text.tokenizers.character import CharacterTokenizer
from tests.experiments.test_gradient_studies import words


def test_dynamics_are_seen_where_some_network_shows_them():
    def everything(arm: str) -> dict[str, float]:
        if arm.startswith("counting"):
            return {"counts": float(arm.endswith("lstm")), "longest": 20.0}
        gain = arm.rpartition(" ")[2]
        kinds = {"settles": gain == "0.5", "oscillates": gain == "-3", "is chaotic": gain == "4"}
        return {**{what: float(value) for what, value in kinds.items()}, "exponent": 0.0}

    def nothing_counts(arm: str) -> dict[str, float]:
        return {**everything(arm), "counts": 0.0}

    def never_chaotic(arm: str) -> dict[str, float]:
        return {**everything(arm), "is chaotic": 0.0}

    assert words("dynamics", everything, exactly=True, seeds=20) == [Word.HOLDS]
    assert words("dynamics", nothing_counts, exactly=True, seeds=20) == [Word.PARTLY]
    assert words("dynamics", never_chaotic, exactly=True, seeds=20) == [Word.PARTLY]


def test_the_alphabet_is_judged_by_its_three_differences():
    def as_taught(arm: str) -> dict[str, float]:
        return {"backward more": 3.0 if arm == "trained forward" else 0.01, "first more": 2.0}

    assert words("alphabet", as_taught) == [Word.HOLDS]
    assert words("alphabet", lambda arm: {"backward more": 0.02, "first more": 0.02}) == [Word.PARTLY]
    assert words("alphabet", lambda arm: {"backward more": 0.5, "first more": 0.02}) == [Word.REFUTED]


@pytest.fixture
def counter(random_model: Callable[..., LanguageModel]) -> lmkit.TrainedModel:
    """A network that knows nothing, over the letters."""
    tokenizer = CharacterTokenizer.train(["abcdefghijklmnopqrstuvwxyz\n"])
    return lmkit.TrainedModel(random_model("lstm", tokenizer.vocab_size).eval(), tokenizer, Config())


def probabilities(model: lmkit.TrainedModel, context: str) -> torch.Tensor:
    predictor = NetworkPredictor(model.model)
    tokens = torch.tensor([[model.tokenizer.eos_id, *model.tokenizer.encode(context).tolist()]])
    return predictor.distribution(tokens, predictor.initial_state(1))[0][0, -1]


def answers_all(model: lmkit.TrainedModel, count: int) -> bool:
    for item in Counting.items(count):
        found = probabilities(model, item.behind("ab\n").context)
        right, wrong = (int(model.tokenizer.encode(answer)[0]) for answer in (item.right, *item.wrong))
        if found[right] <= found[wrong]:
            return False
    return True


def test_a_line_is_counted_if_every_question_of_it_is_answered_right(counter: lmkit.TrainedModel):
    ends, known = int(counter.tokenizer.encode("\n")[0]), []
    for bias in (-2.0, 0.0, 4.0):  # the more, the sooner a line is expected to end
        with torch.no_grad():
            counter.model.head.get_parameter("bias")[ends] = bias
        found = longest_counted(counter, 4)
        assert found == [answers_all(counter, count) for count in range(1, 5)]
        known += found
    assert any(known) and not all(known)


def test_the_loss_of_an_answer_is_that_of_the_text_which_has_it(counter: lmkit.TrainedModel):
    line = Alphabet.starts()["from f"]
    found = answer_losses(counter, [item.behind("\n") for item in Alphabet.items(line)])
    scored = counter.score(f"\n{line}", state="carry")[1:]
    np.testing.assert_allclose(found, [-token.log_prob for token in scored], rtol=1e-4, atol=1e-5)


def test_gates_are_judged_by_the_units_that_do_as_taught_and_by_their_signs():
    def as_taught(arm: str) -> dict[str, float]:
        ends = {"forget lowest": 0.01, "forget highest": 0.99, "candidate lowest": -0.9}
        return {"forgetting": 0.5, "storing": 0.4, "filtering": 0.3, "answer": 0.2, **ends}

    def with_one(name: str, value: float) -> list[Word]:
        return words("gates", lambda arm: {**as_taught(arm), name: value})

    assert words("gates", as_taught) == [Word.HOLDS, Word.REFUTED]
    assert with_one("storing", 0.1) == [Word.PARTLY, Word.REFUTED]
    assert with_one("answer", 1.5) == [Word.UNDECIDED, Word.REFUTED]
    assert with_one("forget lowest", -0.1) == [Word.HOLDS, Word.HOLDS]
    assert with_one("forget lowest", math.nan) == [Word.HOLDS, Word.UNDECIDED]


def test_the_units_of_a_recall_are_counted_by_what_each_character_is_for():
    """Of four units one opens at the first letter, three are higher at dots than at line ends, all at the question."""
    text = list("..?a\n" + 2 * "b..?b\n")
    kinds = ["dot", "dot", "asked", "answer", "end"] + 2 * ["letter", "dot", "dot", "asked", "answer", "end"]
    values = {"letter": [0.9, 0.5, 0.5, 0.5], "dot": [0.2, 0.6, 0.6, 0.4], "asked": 4 * [0.95], "end": 4 * [0.1]}
    gate = np.array([values.get(kind, 4 * [0.0]) for kind in kinds])
    found = recall_shares(text, {name: gate for name in ("forget", "input", "output")})
    assert found == {"storing": 0.25, "forgetting": 0.75, "filtering": 1.0}


def test_what_is_asked_for_costs_the_surprise_at_the_letters_behind_the_question_marks(counter: lmkit.TrainedModel):
    tokenizer = CharacterTokenizer.train(["ab.?\n"])
    model = lmkit.TrainedModel(counter.model, tokenizer, Config())
    text = "?a\na.?a\nb.?b\n"
    behind = [token.log_prob for token in model.score(text) if text[token.start - 1 : token.start] == "?"]
    assert len(behind) == 3
    assert answer_in_text(model, list(text)) == pytest.approx(-sum(behind) / 3)


def test_the_depth_of_brackets_begins_anew_with_each_line():
    assert bracket_depth(list(")}\n([)]\n<")).tolist() == [0, 0, 0, 1, 2, 1, 0, 0, 1]
