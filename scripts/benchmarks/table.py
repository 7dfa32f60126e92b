"""The table of docs/benchmarks.md: a row for each case, replaced when the case is measured again."""

from __future__ import annotations

import statistics

from benchmarks.rounds import Result

BEGIN, END = "<!-- bench.py: begin -->", "<!-- bench.py: end -->"
HEAD = (
    "| case | against | ratio | middle half | speed | matrix products at that time | taken with |",
    "|---|---|---|---|---|---|---|",
)


def row(result: Result, taken: str) -> str:
    """A result as a line of the table."""
    low, high = result.middle
    limit = f"{statistics.median(result.gemm) / 1e9:,.0f} GFLOP/s" if result.gemm else ""
    if result.share_of_limit is not None:
        limit += f", {result.share_of_limit:.0%} of it"
    speed = f"{statistics.median(result.own):,.4g}" if statistics.median(result.own) < 100 else ""
    speed = speed or f"{statistics.median(result.own):,.0f}"
    cells = (result.case, result.against, f"{result.ratio:.2f}", f"{low:.2f} to {high:.2f}")
    return f"| {' | '.join((*cells, f'{speed} {result.unit}/s', limit, taken))} |"


def updated(document: str, results: list[Result], taken: str) -> str:
    """The document with the rows of these results, others as they were; in the order of their names."""
    try:
        before, rest = document.split(BEGIN)
        old, after = rest.split(END)
    except ValueError:
        raise SystemExit(f"The document needs one line {BEGIN} and, after it, one line {END}.") from None
    rows = {_name(line): line for line in old.strip().splitlines()[len(HEAD) :]}
    rows |= {result.case: row(result, taken) for result in results}
    return f"{before}{BEGIN}\n\n" + "\n".join([*HEAD, *(rows[name] for name in sorted(rows))]) + f"\n\n{END}{after}"


def _name(line: str) -> str:
    return line.split("|")[1].strip()
