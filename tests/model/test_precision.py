"""The arithmetic of a network: what is asked for, and what this processor computes it in."""

import os
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch

from lmkit.config import ModelConfig
from lmkit.errors import ConfigError
from lmkit.model import precision as precision_module
from lmkit.model.cells import CELLS
from lmkit.model.cells.zoneout import Zoneout
from lmkit.model.precision import choose_precision, computes_in

CPU = torch.device("cpu")
CONFIG = ModelConfig(hidden_size=8)


@pytest.fixture
def processor(monkeypatch):
    """Pretend a processor that has instructions for bfloat16 or not, with kernels that take it or not."""

    def pretend(*, fast: bool, works: bool) -> None:
        monkeypatch.setattr(precision_module, "has_fast_bfloat16", lambda device: fast)
        monkeypatch.setattr(precision_module, "_try", lambda precision, device, config: works)

    return pretend


@pytest.mark.parametrize(
    ("fast", "works", "expected"),
    [(True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32)],
)
def test_auto_is_bfloat16_where_it_is_fast_and_works(processor, fast, works, expected):
    processor(fast=fast, works=works)
    assert choose_precision("auto", CPU, CONFIG) == expected


def test_what_is_asked_for_is_taken_or_refused_in_a_sentence(processor):
    processor(fast=False, works=True)
    assert choose_precision("bfloat16", CPU, CONFIG) == torch.bfloat16
    processor(fast=True, works=False)
    assert choose_precision("float32", CPU, CONFIG) == torch.float32
    with pytest.raises(ConfigError, match=r"bfloat16 does not work .* --cell lstm here\. Use --precision float32"):
        choose_precision("bfloat16", CPU, CONFIG)
    with pytest.raises(ConfigError, match="float16 needs --device cuda"):
        choose_precision("float16", CPU, CONFIG)


@pytest.mark.parametrize("cell", CELLS)
def test_trying_a_precision_draws_no_number_and_takes_every_option_of_a_model(cell):
    config = ModelConfig(cell=cell, num_layers=3, tie_embeddings=True, embedding_size=5, head="adaptive", cutoffs=(4,))
    state = torch.get_rng_state()
    assert computes_in(torch.bfloat16, CPU, config) in (True, False)
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("make", "name", "gate", "bias"),
    [
        (CELLS["mingru"], "linear.bias", slice(0, 4), -7.0),
        (CELLS["minlstm"], "linear.bias", slice(4, 8), -7.0),
        (CELLS["qrnn"], "linear.bias", slice(4, 8), 7.0),
        (partial(CELLS["lstm"], input_gate="capped"), "bias_ih_l0", slice(4, 8), 7.0),
        (partial(CELLS["lstm"], input_gate="coupled"), "bias_ih_l0", slice(0, 4), 7.0),
        (partial(Zoneout, CELLS["gru"], 0.1), "cell.bias_ih_l0", slice(4, 8), 7.0),
    ],
)
@torch.no_grad()
def test_a_state_is_kept_as_long_in_bfloat16_as_in_float32(make: Any, name: str, gate: slice, bias: float):
    """By a gate of 0.999, which bfloat16 would round to 1, and one of 0.998, which it would round to 0.996. torch's
    kernels, which round gates so, are not asked.
    """
    layer = make(4, 4).eval()
    for parameter in layer.parameters():
        parameter.zero_()
    layer.get_parameter(name)[gate] = bias
    inputs, state = torch.zeros(512, 1, 4), tuple(map(torch.ones_like, layer.initial_state(1)))
    _, expected = layer(inputs, state)
    with torch.autocast("cpu", torch.bfloat16):
        _, found = layer(inputs, state)
        for projected in layer.project(inputs):
            _, state = layer.step(projected, state)
    torch.testing.assert_close((found[0], state[0]), (expected[0], expected[0]), rtol=1e-3, atol=0)


def test_under_kernels_of_an_older_processor_bfloat16_trains_or_is_refused(tmp_path):
    # oneDNN has no LSTM in bfloat16 for AVX2, which it finds out when the kernel is called; not every build heeds the
    # limit, so both ends are allowed, and a traceback is not
    options = "--corpus markov:2000 --hidden-size 8 --max-steps 2 --batch-size 2 --window 16 --precision bfloat16"
    done = subprocess.run(
        [sys.executable, "-m", "lmkit", "train", *options.split(), "--out", str(tmp_path / "run")],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 2), done.stderr
    assert done.returncode == 0 or "--precision bfloat16 does not work on this processor" in done.stderr
    assert (tmp_path / "run").exists() == (done.returncode == 0)
