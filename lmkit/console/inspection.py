"""Tables of what a look inside a model gives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TextIO

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lmkit.console.terminal.numbers import printable, sparkline
from lmkit.console.terminal.output import open_console
from lmkit.inspection.activity.following import Following
from lmkit.inspection.activity.gates import Gates
from lmkit.inspection.dynamics.dynamics import Dynamics
from lmkit.inspection.finding import Finding
from lmkit.inspection.gradients.influence import Influence
from lmkit.inspection.gradients.norms import GradientNorms
from lmkit.inspection.gradients.sensitivity import BeforeAndAfter, Norms
from lmkit.inspection.gradients.spectra import Spectra
from lmkit.inspection.inspector import spread_lags
from lmkit.inspection.memory.context import WAYS, Context
from lmkit.inspection.memory.forgetting import Forgetting
from lmkit.inspection.memory.memory import Memory
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["show_finding"]

Row = Sequence[str]
SHOWN_BINS = 16  # of a histogram in one line


def show_finding(finding: Finding, *, name: str, tokens: int, tokenizer: Tokenizer, file: TextIO) -> None:
    """What was found, in tables; below them what it was found on: ``tokens`` tokens of the text ``name``."""
    console = open_console(file=file)
    match finding:
        case BeforeAndAfter():
            _show_sensitivity(finding, console)
        case Influence():
            _show_influence(finding, console)
        case Context():
            _show_context(finding, console)
        case Memory():
            _show_memory(finding, console)
        case Spectra():
            _show_spectra(finding, console)
        case Gates():
            _show_gates(finding, console)
        case Dynamics():
            _show_dynamics(finding, tokenizer.token_texts[finding.token], console)
        case Forgetting():
            _show_forgetting(finding, console)
    if name:
        _remark(console, f"{name}: {tokens:,} tokens")


def _show_sensitivity(finding: BeforeAndAfter, console: Console) -> None:
    lags = spread_lags(finding.trained.inputs.rows.shape[1] - 1)
    for name, found in (("untrained", finding.untrained), ("trained", finding.trained)):
        rows = [_curve(_part(norms), norms, lags) for norms in (*found.states, found.inputs)]
        title = f"{name}: mean norm of the gradient of the loss, by tokens back"
        _table(console, ("", *map(str, lags), "x/step"), rows, title=title)
    _remark(
        console, f"over {len(finding.trained.losses)} predictions; x/step: by what one more step back multiplies it"
    )


def _show_influence(finding: Influence, console: Console) -> None:
    rows = []
    for row, token in enumerate(finding.predicted):
        shares = finding.shares(row)
        most = shares.argsort()[::-1][:3]
        heaviest = ", ".join(f"{printable(repr(finding.read[place]))} {shares[place]:.0%}" for place in most)
        rows.append((printable(repr(token)), sparkline([*shares.tolist(), 0.0])[:-1], heaviest))
    console.print("what the tokens before a token weigh in its prediction, the first is <eos>", style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("token", "weights, the newest last", "heaviest, share of all"):
        table.add_column(name, no_wrap=True)
    for cells in rows:
        table.add_row(*map(escape, cells))
    console.print(table)
    _remark(console, "norm of the gradient of the token's log-probability by the embedding of each token before it")


def _curve(name: str, norms: Norms, lags: Sequence[int]) -> Row:
    return name, *(_short(norms.mean[lag]) for lag in lags), f"{norms.factor:.3f}"


def _part(norms: Norms) -> str:
    return "embedding" if norms.layer is None else f"layer {norms.layer} {norms.name}"


def _show_context(finding: Context, console: Console) -> None:
    costs = {way: finding.excess(way) for way in WAYS}
    rows = [
        (f"{length:,}", *(f"{costs[way][0][number]:+z.3f} ± {costs[way][1][number]:.3f}" for way in WAYS))
        for number, length in enumerate(finding.lengths)
    ]
    names = ("kept", "nothing", "other text", "shuffled", "half dropped")
    title = "nats per token more than with all of the text, by tokens kept and what is before them"
    _table(console, names, rows, title=title)
    effective = {way: finding.effective(way) for way in ("fresh", "unrelated")}
    shown = [f"more than {finding.lengths[-1]:,}" if value is None else f"{value:,}" for value in effective.values()]
    console.print(
        f"Perplexity is within 1 % of the whole text's from {shown[0]} tokens on with nothing before them, "
        f"{shown[1]} with other text before them.",
        soft_wrap=True,
    )
    whole = finding.whole.mean()
    _remark(console, f"{whole:.4f} nats per token with all of the text; the same {len(finding.positions)} tokens each")


def _show_memory(finding: Memory, console: Console) -> None:
    one, other = finding.trained, finding.untrained
    columns = zip(one.lags, one.accuracy, other.accuracy, one.shuffled, one.chance, one.nats, strict=True)
    rows = [(f"{lag:,}", *(f"{value:.1%}" for value in values[:4]), f"{values[4]:.3f}") for lag, *values in columns]
    names = ("tokens back", "trained", "untrained", "shuffled", "most frequent", "trained, nats")
    _table(console, names, rows, title="tokens read back from the state by a linear probe: share that is right")
    _remark(console, f"{finding.num_states:,} states, a quarter for the test; {finding.num_classes} classes of tokens")


def _show_spectra(finding: Spectra, console: Console) -> None:
    rows = [
        (
            f"layer {one.layer} {one.gate}" + ("" if one.head is None else f" head {one.head}"),
            "-" if np.isnan(one.radius) else f"{one.radius:.4f}",
            f"{one.norm:.4f}",
            f"{np.median(one.singular_values):.4f}",
            f"{one.singular_values[-1]:.4f}",
        )
        for one in finding.spectra
    ]
    if rows:
        _table(console, ("", "spectral radius", "largest singular value", "median", "smallest"), rows)
    else:
        console.print("This cell has no matrix from state to state.")
    _show_gradients(finding.gradients, console)


def _show_gradients(norms: GradientNorms, console: Console) -> None:
    finite = norms.norms[np.isfinite(norms.norms)]
    if not len(finite):
        console.print("metrics.jsonl has no gradient norms yet.")
        return
    console.print(
        f"gradient norms {sparkline(finite.tolist())}  median {np.median(finite):.3f}, largest {finite.max():.3f}",
        soft_wrap=True,
    )
    known = not math.isnan(norms.clipped_share)
    share = f"{norms.clipped_share:.0%} of the steps" if known else f"{norms.clipped:.0%} of them"
    clipped = f"clipped at {norms.threshold:g} in {share}" if norms.threshold else "not clipped"
    _remark(console, f"the largest of every 20 steps; {clipped}")


def _show_gates(finding: Gates, console: Console) -> None:
    rows = []
    for one in finding.activity:
        (low, high), (below, above) = one.bounds, one.saturation
        shares = f"{below.mean():.1%} < {low:g}", f"{above.mean():.1%} > {high:g}"
        counts, edges = one.histogram(SHOWN_BINS)
        histogram = sparkline([float(count) for count in counts])
        shown = f"{edges[0]:.3g} {histogram} {edges[-1]:.3g}"
        rows.append((f"layer {one.layer} {one.name}", f"{one.values.mean():.3f}", *shares, shown))
    _table(console, ("", "mean", "below", "above", "histogram"), rows)
    _show_following(finding, console)
    for attention in finding.attention:
        lags = ", ".join(f"{lag:.1f}" for lag in attention.mean_lag)
        console.print(f"layer {attention.layer} attention: {lags} tokens back on average, by head", soft_wrap=True)


def _show_following(finding: Gates, console: Console) -> None:
    rows = []
    for one in finding.following:
        best = int(one.result.order[0])
        rows.append((one.quantity, f"layer {one.layer} {one.name} {best}", *_correlation(one.result, best)))
    if rows:
        console.print()
        title = "the unit that follows best (by chance: what the best of as many units reaches once in 20 times)"
        _table(console, ("", "unit", "correlation", "by chance", "p"), rows, title=title)


def _correlation(result: Following, unit: int) -> Row:
    return f"{result.correlations[unit]:+.3f}", f"{result.threshold:.3f}", f"{result.p_values[unit]:.3f}"


def _show_dynamics(finding: Dynamics, token: str, console: Console) -> None:
    period = f" of {finding.period} steps" if finding.kind == "cycle" else ""
    console.print(f"[bold]{escape(finding.kind)}[/bold]{period} under the token {escape(printable(repr(token)))}")
    console.print(f"largest Lyapunov exponent {finding.exponent:+.5f} ± {finding.error:.5f} nats per step")
    unit = int(finding.trajectory.std(axis=0).argmax())
    if finding.kind not in ("fixed point", "settling"):
        console.print(f"unit {unit} {sparkline(finding.trajectory[:60, unit].tolist())}", soft_wrap=True)
    _remark(console, f"{finding.steps:,} steps after {finding.transient:,}, in float64, over the whole state")


def _show_forgetting(finding: Forgetting, console: Console) -> None:
    marks = [lag for lag in spread_lags(finding.losses.shape[1]) if lag]
    rows = [
        (
            f"layer {one.layer} {one.name}",
            *(_short(one.mean[mark - 1]) for mark in marks),
            *("-" if (found := one.tokens_to(share)) is None else f"{found:,}" for share in (0.1, 0.01)),
        )
        for one in finding.distances
    ]
    losses = finding.losses.mean(axis=0)
    rows.append(("loss, nats", *(_short(losses[mark - 1]) for mark in marks), "", ""))
    names = ("", *map(str, marks), "to 1/10", "to 1/100")
    _table(console, names, rows, title="mean distance between two pasts, after so many tokens of the same text")
    _remark(console, f"over {len(finding.losses)} pairs of pasts")


def _table(console: Console, names: Sequence[str], rows: Iterable[Row], *, title: str = "") -> None:
    if title:
        console.print(title, style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)


def _short(value: float) -> str:
    """Two digits, so that many fit into a line: ``0.012``, ``4.6e-12``."""
    return f"{value:.2g}"


def _remark(console: Console, text: str) -> None:
    console.print(escape(text), style="dim", soft_wrap=True)
