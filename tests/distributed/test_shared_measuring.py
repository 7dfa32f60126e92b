"""Processes that measure a text together find what one process finds, whichever rows each of them computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmkit.distributed.world import ALONE, World
from lmkit.errors import ConfigError
from lmkit.evaluation.measurement import measure
from lmkit.evaluation.options import EvalOptions
from lmkit.evaluation.perplexity import Evaluation
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.evaluation.scoring.reading import ScoredBlock
from lmkit.evaluation.scoring.scoring import score_text
from lmkit.evaluation.shared import SharedNetwork, check_can_share
from lmkit.model.int8 import quantized
from lmkit.model.language_model import LanguageModel
from lmkit.text import CharacterTokenizer, encode_text
from lmkit.text.documents import EACH_LINE
from tests.distributed.processes import Join, in_processes

LETTERS = CharacterTokenizer.train(["abcd\n"])
TEXT = "".join("".join(np.random.default_rng(line).choice(list("abcd"), 3 + line % 60)) + "\n" for line in range(40))
RULES = {"carry": "file", "reset": "file", "document": "line", "line": EACH_LINE}
TOKENS = {state: encode_text(LETTERS, TEXT, documents=rule) for state, rule in RULES.items()}
CASES = [
    ("lstm", {"state": "carry", "rows": 7, "warmup": 0, "window": 50}),
    ("lstm", {"state": "carry", "rows": 2, "warmup": 5, "window": 1000}),
    ("rnn", {"state": "carry", "rows": 5, "warmup": 0, "max_passes": 1}),
    ("transformer", {"state": "carry", "rows": 3, "warmup": 0, "window": 40}),
    ("lstm", {"state": "reset", "rows": 4, "window": 30}),
    ("gru", {"state": "document", "rows": 3, "window": 20}),
    ("qrnn", {"state": "line", "rows": 5, "window": 20}),
]
SCORED = ("line", "document", "carry")
MORE: dict[str, dict[str, Any]] = {"transformer": {"heads": 2, "context": 9}}


def measured(network: Any, how: dict[str, Any]) -> Evaluation:
    return measure(network, TOKENS[how["state"]], LETTERS, EvalOptions(**how), split="text").evaluation


def scored(model: LanguageModel, state: str, world: World) -> list[ScoredBlock]:
    """Two texts with all that can be said of each prediction."""
    how: dict[str, Any] = {"entropy": True, "rank": True, "top_k": 2, "words": True, "documents": "line"}
    files = [[TEXT], [TEXT[500:700]]]
    return list(score_text(NetworkPredictor(model), LETTERS, files, state=state, world=world, window=20, **how))


def refusals(model: LanguageModel, world: World) -> list[str]:
    """What is said where a process has no row, and where the processes have other texts, or one the beginning."""
    other = TOKENS["document" if world.rank else "carry"]
    found = []
    for rows, tokens in ((world.size - 1, TOKENS["carry"]), (9, other)):
        with pytest.raises(ConfigError) as refused:
            check_can_share(model, tokens, rows, world)
        found.append(str(refused.value))
    for longer in (0, 1):
        text = TEXT if (world.rank == 1) == longer else TEXT[:200]
        with pytest.raises(ConfigError) as refused:
            list(score_text(NetworkPredictor(model), LETTERS, [[text]], world=world, window=20))
        found.append(str(refused.value))
    return found


@pytest.mark.parametrize("size", [2, 3])
def test_the_sums_are_those_of_one_process(size: int, random_model: Callable[..., Any], tmp_path: Path):
    models = [random_model(cell, LETTERS.vocab_size, **MORE.get(cell, {})).double() for cell, _ in CASES]
    rounded = quantized(random_model("lstm", LETTERS.vocab_size))

    def work(join: Join) -> Any:
        world = join()
        shares = [SharedNetwork(NetworkPredictor(model), world) for model in [*models, rounded]]
        cases = [how for _, how in [*CASES, CASES[0]]]
        found = [measured(share, how) for share, how in zip(shares, cases, strict=True)]
        return found, refusals(models[0], world), [scored(models[0], state, world) for state in SCORED]

    alone = [measured(NetworkPredictor(model), how) for model, (_, how) in zip(models, CASES, strict=True)]
    alone_rounded = measured(NetworkPredictor(rounded), CASES[0][1])
    assert alone[0].seams_repaired > 0, "states must go from one process to another"
    first, *others = in_processes(size, work, tmp_path)
    assert [other[:2] for other in others] == [first[:2]] * (size - 1)
    (*found, of_rounded), said, scores = first
    for shared, state in zip(scores, SCORED, strict=True):
        for block, expected in zip(shared, scored(models[0], state, ALONE), strict=True):
            for name, values in expected._asdict().items():
                if name != "block" and values is not None:
                    np.testing.assert_allclose(getattr(block, name), values, rtol=1e-11, atol=1e-14)
    for one, other in zip(found, alone, strict=True):
        assert one.nll == pytest.approx(other.nll, rel=1e-12)
        assert one.tokens == other.tokens
        assert (one.seams_repaired, one.seams_open) == (other.seams_repaired, other.seams_open)
    assert of_rounded.nll == pytest.approx(
        alone_rounded.nll, abs=NetworkPredictor(rounded).tolerance * of_rounded.tokens
    )
    assert f"{size} processes need a row each, and the text is read in {size - 1}: give --rows {size}" in said[0]
    assert [one.startswith("The text of process 1 differs") for one in said[1:]] == [True] * 3
