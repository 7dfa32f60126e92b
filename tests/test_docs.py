"""The documents hold: their Python runs, their commands parse, and what they link and name exists."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

import lmkit
from lmkit.cli import main
from lmkit.config import AVERAGES, CELLS, OPTIMIZERS, ModelConfig
from lmkit.fields import fields_of, flag_of
from lmkit.presets.preset import preset_names
from tests.runs import labelled_csv

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "docs" / "lessons").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")), *LESSONS]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]

PLACEHOLDER = re.compile(r"[A-Z]+")  # RUN, TEXT, N: what a reader replaces
IN_A_SENTENCE = re.compile(r"`([^`\n]+)`")
A_FILE = re.compile(r"\.?[\w-]+(/[\w.-]+)*(/|\.(py|md|toml|txt))|(scripts|\.ci)/\w+")
# Files of readers and of runs, in the examples.
THEIRS = {
    "book.txt",
    "other.txt",
    "input.txt",
    "tinyshakespeare/input.txt",
    "timemachine/timemachine.txt",
    "names.txt",
    "chapter.txt",
}
THEIRS |= {"wiki.txt", "train.csv", "valid.csv", "test.csv", "questions.csv"}
THEIRS |= {"sentences.txt", "folder/", "train.txt", "valid.txt", "test.txt", "checkpoints/", "reports/", "RUN/reports/"}


class Block(NamedTuple):
    language: str
    text: str


def blocks(name: str) -> list[Block]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return [
        Block(language, body) for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def sentences(name: str) -> str:
    """A document without its blocks."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def code_spans(name: str) -> list[str]:
    return IN_A_SENTENCE.findall(re.sub(r"(?<!\n)\n(?!\n)", " ", sentences(name)))


def commands(name: str) -> Iterator[str]:
    """What stands after ``lmkit`` in every command line of a document, in its blocks and in its sentences."""
    lines = [line for block in blocks(name) if block.language in ("sh", "console") for line in block.text.splitlines()]
    for line in [*lines, *code_spans(name)]:
        if call := re.match(r"(?:\$ )?(?:[^$#]* \| )?(?:lmkit|scripts/run) ([a-z][^|]*|-.*)", line):
            yield call[1]


# The options of help are kept by a command when they are first asked for: what stands above it decides their names.
TOP = click.Context(main, **main.context_settings)


def parse(arguments: list[str]) -> None:
    """What click does before it calls a command: options are known and their values of the right kind."""
    if not arguments or arguments[0].startswith("-"):
        main.make_parser(TOP).parse_args(arguments)
        return
    command = main.get_command(TOP, arguments[0])
    assert command is not None, f"no command {arguments[0]}"
    if isinstance(command, click.Group) and arguments[1:]:
        command, arguments = command.get_command(click.Context(command, parent=TOP), arguments[1]), arguments[1:]
        assert command is not None, f"no command {arguments[0]}"
    context = click.Context(command, parent=TOP, info_name=arguments[0])
    values, left, _ = command.make_parser(context).parse_args(arguments[1:])
    assert not left, f"nothing takes {left}"
    for parameter in command.params:
        value = values.get(parameter.name or "")
        if isinstance(value, str) and not PLACEHOLDER.fullmatch(value) and not isinstance(parameter.type, click.Path):
            parameter.type_cast_value(context, value)


def every_command(command: click.Command) -> Iterator[click.Command]:
    """A command, and those of a group."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command, parent=TOP)
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None, name
            yield from every_command(member)


@cache
def options() -> set[str]:
    """Every option of every command, and of the scripts."""
    of_commands = {
        option
        for command in every_command(main)
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    }
    scripts = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "scripts").iterdir() if path.is_file())
    return of_commands | set(re.findall(r"--[a-z][a-z-]+", scripts)) | {"--help", "--help-all", "--nproc-per-node"}


@cache
def paths() -> set[str]:
    """Every file and folder of the checkout by each of its endings: ``files.py``, ``run/lock.py``, ``cells/``."""
    tops = ("lmkit", "scripts", "tests", "docs", "corpora", ".ci")
    found = [path for top in tops for path in [ROOT / top, *(ROOT / top).rglob("*")] if "__pycache__" not in path.parts]
    names = [path.relative_to(ROOT).as_posix() + ("/" if path.is_dir() else "") for path in [*found, *ROOT.glob("*.*")]]
    return {"/".join(name.split("/")[start:]) for name in names for start in range(name.rstrip("/").count("/") + 1)}


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a reader, who has trained two small models and has two texts."""
    folder = tmp_path_factory.mktemp("reader")
    text = "A list is a mutable sequence.\nA tuple is an immutable sequence.\nThe items of both have an order.\n" * 60
    for name in ("book.txt", "other.txt"):
        (folder / name).write_text(text, encoding="utf-8")
    small: dict[str, Any] = {"hidden_size": 8, "max_steps": 2, "batch_size": 2, "window": 8, "precision": "float32"}
    (folder / "train.csv").write_text(labelled_csv(), encoding="utf-8")
    lmkit.train(folder / "book.txt", out=folder / "runs" / "pydoc-1", quiet=True, threads=1, **small)
    shutil.copytree(folder / "runs" / "pydoc-1", folder / "runs" / "pydoc-2")
    return folder


@pytest.mark.parametrize("name", ["README.md", "docs/python.md"])
def test_python_examples_run_from_top_to_bottom(name: str, reader: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(reader)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    examples = [block.text for block in blocks(name) if block.language == "python"]
    assert examples
    namespace: dict[str, Any] = {}
    for example in examples:
        exec(compile(example, name, "exec"), namespace)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_line_parses(name: str):
    for command in commands(name):
        try:
            parse(shlex.split(command, comments=True))
        except click.UsageError as error:
            pytest.fail(f"lmkit {command}: {error.format_message()}")


@pytest.mark.parametrize("name", NAMES)
def test_every_option_that_is_named_exists(name: str):
    named = {option for span in code_spans(name) for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", span)}
    assert named <= options()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_is_named_exists(name: str):
    named = {span for span in code_spans(name) if A_FILE.fullmatch(span)}
    assert named - THEIRS <= paths()


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str):
    for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", (ROOT / name).read_text(encoding="utf-8")):
        link = "".join(target)
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_readme_has_a_line_for_every_room():
    (tree,) = (block.text for block in blocks("README.md") if block.text.startswith("lmkit/"))
    shown = set(re.findall(r"^  (\w+/)", tree, re.MULTILINE))
    rooms = {f"{path.name}/" for path in (ROOT / "lmkit").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert shown == rooms
    assert set(re.findall(r"[\w.]+/", tree)) | set(re.findall(r"\w+\.py", tree)) <= paths()


def first_column(name: str, heading: str) -> set[str]:
    """What stands as code in the first column of the first table under a heading."""
    section = (ROOT / name).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table is not None
    cells = [row.split("|")[1] for row in table[0].splitlines()[2:]]
    return {span for cell in cells for span in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("Presets", preset_names()),
        ("Cells", CELLS),
        ("Optimisers and schedules", OPTIMIZERS),
        ("Means of the weights", AVERAGES),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_table_of_the_page_on_training_names_all_there_are(heading: str, names: Iterable[str]):
    assert first_column("docs/training.md", heading) == set(names)


def test_the_table_of_cells_names_the_options_that_only_some_have():
    """Those of one or some cells alone; what all cells with matrices or real states have is in the text below it."""
    rows = re.findall(
        r"^\| `(\w+)` \|[^|]+\|[^|]+\|([^|]*)\|$", (ROOT / "docs" / "training.md").read_text("utf-8"), re.M
    )
    shown = {cell: set(re.findall(r"`(--[a-z-]+)`", options)) for cell, options in rows if cell in CELLS}
    own = [item for item, _ in fields_of(ModelConfig) if 0 < len(item.metadata["cells"]) <= 3]
    assert shown == {cell: {flag_of(item) for item in own if cell in item.metadata["cells"]} for cell in CELLS}


def test_the_architecture_has_a_row_for_every_room():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    shown = {
        room
        for cell in re.findall(r"^\| \d+ \| ([^|]+) \|", text, re.MULTILINE)
        for room in re.findall(r"`(.+?)`", cell)
    }
    found = [path for path in (ROOT / "lmkit").iterdir() if not path.name.startswith("_") and path.name != "py.typed"]
    assert shown == {path.name + ("/" if path.is_dir() else "") for path in found}


def test_the_lessons_say_what_the_results_make_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    lessons: Any = __import__("lessons")
    stale = [path.name for path, text in lessons.contents().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run scripts/lessons.py"
