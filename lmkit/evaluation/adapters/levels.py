"""What each adapter of a stack gains on a text: one pass over the text, then arithmetic on the losses of its tokens."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmkit.errors import ConfigError
from lmkit.evaluation.adapters.adapters import Components, Parts, level_log_probs
from lmkit.evaluation.adapters.dynamic import ONE_STREAM
from lmkit.evaluation.adapters.tuning import ends_of_grids
from lmkit.evaluation.comparison.gains import Blocks, blocks_of, gains
from lmkit.evaluation.comparison.interval import Interval
from lmkit.evaluation.comparison.losses import scored_losses
from lmkit.evaluation.measurement import Measurement, measurement_of, rows_read, with_rows_read
from lmkit.evaluation.options import AdapterSettings, EvalOptions
from lmkit.evaluation.perplexity import Evaluation
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["Adapted", "MeasuredLevel", "check_rows", "measure_stack"]

Floats = NDArray[np.float64]
TUNED_HERE = (
    "Rates and weights were tuned on the very text that is measured: the losses with adapters are too low. A separate "
    "text (--file, or a run with a test split) gives fair ones."
)


@dataclass(frozen=True)
class MeasuredLevel:
    """The network with some adapters, or the n-gram model alone, on a text.

    gain: relative reduction of the network's perplexity, 0.1 for a tenth less, with its confidence interval; below
    zero the network is better. gain_below: the same against the level below. None for what there is nothing below,
    and where a loss is not finite.
    """

    name: str
    measurement: Measurement
    gain: Interval | None
    gain_below: Interval | None

    @property
    def evaluation(self) -> Evaluation:
        """Sums and counts, from which every unit follows."""
        return self.measurement.evaluation

    def metrics(self) -> dict[str, Any]:
        """Ready for JSON; what is not known is None."""
        values = {"perplexity": self.evaluation.perplexity, "nll_nats": self.evaluation.nll}
        metrics: dict[str, Any] = {"name": self.name}
        metrics |= {name: value if math.isfinite(value) else None for name, value in values.items()}
        for name, interval in (("gain", self.gain), ("gain_below", self.gain_below)):
            value, low, high = (None, None, None) if interval is None else dataclasses.astuple(interval)
            metrics |= {name: value, f"{name}_low": low, f"{name}_high": high}
        return metrics


@dataclass(frozen=True)
class Adapted:
    """All levels of a stack on one text, from the network alone upwards, and the n-gram model alone, which stands on
    none.

    blocks: how the intervals were made, None where the text is too short for any. tuned_here: whether the settings
    were tuned on the very text that was measured.
    """

    settings: AdapterSettings
    tuned_here: bool
    stack: list[MeasuredLevel]
    ngram_alone: MeasuredLevel | None
    blocks: Blocks | None
    notes: list[str]

    @property
    def levels(self) -> list[MeasuredLevel]:
        """Those of the stack, and last the n-gram model alone where there is one."""
        return self.stack if self.ngram_alone is None else [*self.stack, self.ngram_alone]

    @property
    def name(self) -> str:
        """What ``result`` is measured of: the network with all adapters."""
        return " ".join(level.name for level in self.stack)

    @property
    def result(self) -> Measurement:
        """The network with all adapters that were asked for: the last level of the stack."""
        return self.stack[-1].measurement

    @property
    def network(self) -> Measurement:
        """The network alone: what ``measure`` gives without adapters."""
        return self.stack[0].measurement

    def metrics(self) -> dict[str, Any]:
        """Ready for JSON: those of ``result`` at the top, those of the network and the n-gram model alone under their
        names.
        """
        alone = self.ngram_alone
        return {
            **self.result.metrics(),
            "model": self.name,
            "network": self.network.metrics(),
            "ngram_alone": None if alone is None else alone.measurement.metrics(),
            "adapters": [level.metrics() for level in self.levels],
            "adapter_settings": {
                **dataclasses.asdict(self.settings),
                "tuned_on_measured_text": self.tuned_here,
            },
            "adapter_intervals": None if self.blocks is None else self.blocks._asdict(),
            "adapter_notes": self.notes,
        }


def check_rows(tokens: TokenFile, options: EvalOptions) -> None:
    """Raise ConfigError where adapters cannot read a text in this many rows: before anything is computed."""
    if options.adapters.dynamic and rows_read(tokens, options) > 1:
        raise ConfigError(ONE_STREAM)


def measure_stack(
    parts: Parts,
    tokens: TokenFile,
    tokenizer: Tokenizer,
    options: EvalOptions,
    *,
    split: str,
    tuned_here: bool = False,
    report: Callable[[float], None] | None = None,
) -> Adapted:
    """Measure every level of ``stack`` in one pass over a token file: each network and model reads it once.

    The metrics of each level are those of ``measure`` on it by itself; seams are repaired where any of the models
    needs it, and counted so. In memory are some float64 numbers for each token, and the hidden vectors of one window
    and of the cache. Raises ConfigError for impossible settings and for dynamic evaluation of several rows.
    """
    check_rows(tokens, options)
    settings, precision = options.adapters, str(parts.precision).removeprefix("torch.")
    options = dataclasses.replace(with_rows_read(options, tokens), precision=precision)
    components, seams = scored_losses(Components(parts, settings), tokens, tokenizer.eos_id, options, report=report)
    named = level_log_probs(parts, settings, torch.from_numpy(-components))
    losses = [-log_probs.numpy() for _, log_probs in named]
    found = [_evaluation(loss, tokens, tokenizer) + seams.evaluation() for loss in losses]
    measured = [measurement_of(evaluation, tokens, tokenizer, options, split=split) for evaluation in found]
    blocks = blocks_of(len(tokens))
    levels = [
        MeasuredLevel(name, measurement, *of_level)
        for (name, _), measurement, of_level in zip(named, measured, _gains(losses, parts, blocks), strict=True)
    ]
    alone = levels.pop() if parts.ngram is not None else None
    notes = _notes(measured, len(tokens), blocks)
    if tuned_here:
        notes.append(TUNED_HERE)
    if settings.tuned:
        notes += ends_of_grids(settings)
    return Adapted(settings, tuned_here, levels, alone, blocks, notes)


def _evaluation(losses: Floats, tokens: TokenFile, tokenizer: Tokenizer) -> Evaluation:
    unknown = losses[:0] if tokenizer.unk_id is None else losses[np.asarray(tokens.ids) == tokenizer.unk_id]
    return Evaluation(float(losses.sum()), len(losses), float(unknown.sum()), len(unknown))


def _gains(losses: list[Floats], parts: Parts, blocks: Blocks | None) -> list[tuple[Interval | None, Interval | None]]:
    """Of each level against the network and the level below; the n-gram model alone stands on none."""
    above = losses[1:] if parts.ngram is None else losses[1:-1]
    of_network = gains([(level, losses[0]) for level in losses[1:]], blocks)
    of_below = gains(list(zip(above, losses, strict=False)), blocks)
    return [(None, None), *zip(of_network, [*of_below, *[None] * (len(of_network) - len(above))], strict=True)]


def _notes(measured: list[Measurement], num_tokens: int, blocks: Blocks | None) -> list[str]:
    notes = []
    if blocks is None:
        notes.append(f"A text of {num_tokens:,} tokens is too short for intervals.")
    if not all(math.isfinite(result.evaluation.nll) for result in measured):
        notes.append("A level without a number has losses that are not finite: a lower --dynamic-lr may help.")
    return notes
