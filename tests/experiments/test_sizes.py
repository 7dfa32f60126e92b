"""Networks of equal size, and texts of a chosen length."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmkit.config import Config
from lmkit.errors import DataError
from lmkit.experiments.contract.arm import Arm
from lmkit.experiments.contract.scale import Scale
from lmkit.experiments.contract.trial import Trial
from lmkit.experiments.tools.sizes import num_parameters, with_parameters
from lmkit.experiments.tools.texts import beginning, characters_of
from lmkit.text.sources.generated import GENERATORS


@pytest.mark.parametrize("cell", ["rnn", "lstm", "transformer"])
def test_the_width_is_the_one_with_the_nearest_number_of_parameters(cell: str):
    options = with_parameters({"cell": cell, "num_layers": 2}, 20_000, 50, multiple=4)
    width = options["hidden_size"]
    assert width % 4 == 0

    def distance(width: int) -> int:
        model = Config().override({**options, "hidden_size": width}).model
        return abs(num_parameters(model, 50) - 20_000)

    assert distance(width) == min(distance(width + step) for step in (-8, -4, 0, 4, 8))


def test_a_network_is_never_narrower_than_one_step():
    assert with_parameters({"cell": "lstm"}, 1, 50, multiple=2)["hidden_size"] == 2


def test_the_beginning_of_a_text_is_a_file_that_all_runs_share(tmp_path: Path):
    trial = Trial(Arm("a"), {}, 1, Scale(2), tmp_path / "a", tmp_path / "shared")
    path = Path(beginning(trial, "markov:900", 500))
    assert path.parent == tmp_path / "shared"
    assert path.read_text(encoding="utf-8") == GENERATORS["markov"].sample(500)
    assert characters_of(str(path), 20) == GENERATORS["markov"].sample(20)
    with pytest.raises(DataError, match="500 characters, and 501 are needed"):
        beginning(trial, str(path), 501)
