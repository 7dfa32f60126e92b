"""What every test stands on: no network, one thread, fixed seeds, a cache of its own, and where real corpora are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Here and not in a fixture: the Hugging Face libraries read these when a test file imports them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the threads of the few tests that have two sleep while they wait

pytest.register_assert_rewrite("tests.runs")  # what its assertions compared is shown, as in a test

ROOT = Path(__file__).resolve().parent.parent

# deadline=None: no test asserts a time. In CI the same examples come every time, so a red run is the change's fault.
hypothesis.settings.register_profile("lmkit", deadline=None, max_examples=50, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("lmkit")


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache out of the tests, and torch on one thread; ``scripts/test --kernels`` asks for others."""
    import torch

    torch.set_num_threads(int(os.environ.get("LMKIT_TEST_THREADS", "1")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    """The same draws in a test whether it runs alone or after others."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def needs_bfloat16() -> Callable[..., None]:
    """Skips where this processor's kernels cannot train a cell in bfloat16: ``needs_bfloat16("lstm")``."""
    import torch

    from lmkit.config import ModelConfig
    from lmkit.model.precision import computes_in

    def need(cell: str = "lstm", precision: str = "bfloat16") -> None:
        if not computes_in(getattr(torch, precision), torch.device("cpu"), ModelConfig(cell=cell)):
            pytest.skip(f"no {precision} kernel for {cell} on this processor")

    return need


@pytest.fixture(scope="session")
def random_model() -> Callable[..., Any]:
    """A small network whose predictions differ from token to token: ``random_model("lstm", 11, num_layers=2)``."""
    import torch

    from lmkit.config import ModelConfig
    from lmkit.model.language_model import LanguageModel

    def make(cell: str, vocab_size: int, *, frequency_order: Any = None, **options: Any) -> LanguageModel:
        torch.manual_seed(5)
        config = ModelConfig(**{"cell": cell, "hidden_size": 8, "dropout": 0.0, **options})
        model = LanguageModel(config, vocab_size, frequency_order)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.5)
            for name, parameter in model.named_parameters():
                if cell == "irnn" and "weight_hh" in name:
                    parameter.mul_(0.4)  # a rectifier's state must not grow without end
        return model

    return make


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real corpora: the folder ``LMKIT_TEST_DATA``, or ``shared/data`` beside the checkout; skips without them."""
    folder = Path(os.environ.get("LMKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real corpora: {folder} is not a folder; LMKIT_TEST_DATA can name another")
    return folder
