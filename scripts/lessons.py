"""Puts what the experiments found into the pages of docs/lessons, and makes the index docs/lessons.md.

    .venv/bin/python scripts/lessons.py                          # from docs/lessons/results
    .venv/bin/python scripts/lessons.py --take experiments/cures # keep the full result of an experiment there first
    .venv/bin/python scripts/lessons.py --draw cures             # make report and pictures of a kept result anew

A page is written by hand but for the part between the marks. What was not run says so. ``--check`` writes nothing and
fails where a page is not what the results make it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.errors import RunError
from lmkit.experiments.api import load_experiment
from lmkit.experiments.catalogue import EXPERIMENTS
from lmkit.experiments.claims import CLAIMS
from lmkit.experiments.engine.page import markdown

DOCS = Path(__file__).resolve().parent.parent / "docs"
LESSONS, INDEX = DOCS / "lessons", DOCS / "lessons.md"
RESULTS = LESSONS / "results"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
ELSEWHERE = {31: "measured by `lmkit classify`, not by an experiment: see [classify.md](../classify.md)"}
INTRODUCTION = """# Lessons

What the classic teaching of recurrent networks claims, a page each: the claim, where it is taught, what is behind it,
the command that tries it, and what came out. The rule of each verdict was written before the run
([experiments.md](experiments.md)). *Undecided* means that the difference was not significant, or too small to matter.
In the commands RUN is a run that `lmkit train` has made, and book.txt any text of yours. Numbers in brackets are the
interval, at 95 % confidence, over trainings with other seeds. A difference can have two: in tables by itself, in the
sentence of a verdict corrected for the number of comparisons, and wider.

For a teacher: [a class of 90 minutes](lessons/class.ipynb), a notebook that walks through five of them (1, 30, 10
with 7, 11 with 12, and 28) with questions to ask before the answers are shown.

| | claim | verdict |
|---|---|---|
"""

TOPICS = {
    "Memory": (2, 3, 4, 5, 6, 7, 8, 9),
    "Gradients": (10, 11, 12, 13, 14, 15),
    "Training": (1, 16, 17, 18, 26),
    "Tokens and evaluation": (27, 28, 29, 30),
    "Networks": (19, 20, 21, 22, 23, 24, 25, 31, 32),
}


class Found(NamedTuple):
    """An experiment's result as it is kept."""

    name: str
    result: dict[str, Any]
    report: str
    pictures: list[str]


def found(name: str) -> Found | None:
    folder = RESULTS / name
    if not (folder / "result.json").exists():
        return None
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    pictures = sorted(path.name for path in folder.glob("*.svg"))
    return Found(name, result, (folder / "report.md").read_text(encoding="utf-8"), pictures)


def take(folder: Path) -> None:
    """Keep a full result, numbers to seven digits. What served to make it (trainings, texts) stays where it is."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if result["quick"]:
        raise SystemExit(f"{folder} is a quick form: its verdicts are no findings.")
    kept = RESULTS / result["experiment"]
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    for path in (folder / "report.md", *folder.glob("*.svg")):
        shutil.copyfile(path, kept / path.name)
    (kept / "result.json").write_text(json.dumps(shortened(result), separators=(",", ":")) + "\n", encoding="utf-8")
    with contextlib.suppress(RunError):  # of an earlier version, with other arms: the report stays as it was
        write_report(kept.name)


def write_report(name: str) -> None:
    """The report of a kept result, as it is worded now."""
    result = load_experiment(RESULTS / name)
    pictures = [f"{picture}.svg" for picture in result.charts]
    (RESULTS / name / "report.md").write_text(markdown(result, pictures), encoding="utf-8")


def draw(name: str) -> None:
    """The report and the pictures of a kept result, as they are made now."""
    write_report(name)
    for path in (RESULTS / name).glob("*.svg"):
        path.unlink()
    for picture, drawn in load_experiment(RESULTS / name).pictures.items():
        drawn.save(RESULTS / name / f"{picture}.svg")


def shortened(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {name: shortened(one) for name, one in value.items()}
    return [shortened(one) for one in value] if isinstance(value, list) else value


def page_of(claim: int) -> Path:
    return next(LESSONS.glob(f"{claim:02d}-*.md"))


def verdicts(claim: int) -> Iterator[tuple[str, str, str]]:
    """Of each experiment that judges a claim: its name, the verdict, and because of what."""
    for name, experiment in EXPERIMENTS.items():
        if claim in experiment.claims:
            one = found(name)
            judged = [] if one is None else [each for each in one.result["verdicts"] if each["claim"] == claim]
            yield from ((name, each["verdict"], each["because"]) for each in judged)
            if one is None:
                yield name, "not run", f"Planned for about {experiment.minutes:g} minutes on two cores."


def measured(claim: int) -> Iterator[str]:
    """The lines between the marks."""
    yield "## Measured"
    yield ""
    judged = list(verdicts(claim))
    if not judged:
        yield f"This claim is {ELSEWHERE.get(claim, 'not measured yet')}."
    for name, word, because in judged:
        yield f"- `lmkit experiment {name}`: **{word}**. {because}"
    for name in dict.fromkeys(name for name, _, _ in judged):
        if (one := found(name)) is not None:
            yield from ("", "<details>", f"<summary>The rule of <code>{name}</code>, written before the run</summary>")
            yield from ("", one.result["rule"], "", "</details>", "", *tables(one.report))
            for picture in one.pictures:
                yield from ("", f"![{name}: {picture.removesuffix('.svg')}](results/{name}/{picture})")
            yield from ("", f"All runs and how they were made: [report](results/{name}/report.md).")


def tables(report: str) -> list[str]:
    """The tables of a report, with headings of a lower rank."""
    middle = report.split("\n## The rule\n", 1)[1].split("\n## How it was made\n", 1)[0]
    start = middle.find("\n## ")
    lines = [] if start < 0 else middle[start + 1 :].split("\n![", 1)[0].strip().splitlines()
    return [f"#{line}" if line.startswith("## ") else line for line in lines]


def with_measured(page: str, claim: int) -> str:
    head, rest = page.split(BEGIN, 1)
    _, tail = rest.split(END, 1)
    return head + BEGIN + "\n" + "\n".join(measured(claim)) + "\n" + END + tail


def verdict_shown(claim: int) -> str:
    """The verdicts on a claim; of an experiment that was not run its minutes."""
    words = [
        f"not run ({EXPERIMENTS[name].minutes:g} minutes)" if found(name) is None else word
        for name, word, _ in verdicts(claim)
    ]
    return ", ".join(dict.fromkeys(words)) or ("see [classify.md](classify.md)" if claim in ELSEWHERE else "not run")


def index() -> str:
    rows = [
        f"| {claim} | [{sentence.rstrip('.')}](lessons/{page_of(claim).name}) | {verdict_shown(claim)} |"
        for claim, sentence in CLAIMS.items()
    ]
    return INTRODUCTION + "\n".join([*rows, "", "## By topic", "", *by_topic()]) + "\n"


def by_topic() -> Iterator[str]:
    assert sorted(claim for claims in TOPICS.values() for claim in claims) == sorted(CLAIMS), "each has one topic"
    for topic, claims in TOPICS.items():
        pages = [page_of(claim) for claim in claims]
        titles = [path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ") for path in pages]
        links = [f"[{title}](lessons/{path.name})" for title, path in zip(titles, pages, strict=True)]
        yield f"- **{topic}**: {', '.join(links)}"


def contents() -> dict[Path, str]:
    """All pages as the results make them."""
    pages = {page_of(claim): claim for claim in CLAIMS}
    filled = {path: with_measured(path.read_text(encoding="utf-8"), claim) for path, claim in pages.items()}
    return {**filled, INDEX: index()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--take", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--draw", action="append", default=[], metavar="NAME")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    for folder in arguments.take:
        take(folder)
    for name in arguments.draw:
        draw(name)
    stale = [path for path, text in contents().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if arguments.check:
        sys.exit("".join(f"{path.relative_to(DOCS)} is not what the results make it.\n" for path in stale) or 0)
    for path in stale:
        path.write_text(contents()[path], encoding="utf-8")


if __name__ == "__main__":
    main()
