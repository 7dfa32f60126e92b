"""Experiments in Python: made, read again, and shown in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import lmkit
from lmkit.errors import ConfigError, RunError
from lmkit.experiments.contract.interruption import Interrupted
from lmkit.experiments.contract.table import Table
from lmkit.experiments.engine.result import QUICK, Result

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "lessons" / "results"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """An experiment that trains nothing, with its folder."""
    folder = tmp_path_factory.mktemp("made") / "one-unit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lmkit.experiments.engine.engine.render", lambda chart: b"<svg/>")
        return folder, lmkit.experiment("one-unit", out=folder)


def test_what_an_experiment_found_is_read_from_its_folder(made: tuple[Path, Result]):
    folder, found = made
    read = lmkit.load_experiment(folder)
    assert read.as_dict() == found.as_dict()
    assert (read.tables, read.charts, read.verdicts) == (found.tables, found.charts, found.verdicts)


@pytest.mark.parametrize("name", sorted(path.name for path in RESULTS.iterdir()))
def test_the_results_beside_the_lessons_are_read_and_give_the_rows_of_their_reports(name: str):
    found, report = lmkit.load_experiment(RESULTS / name), (RESULTS / name / "report.md").read_text(encoding="utf-8")
    assert found.tables
    assert [row[0] for table in found.tables for row in table.rows if f"\n| {row[0]} |" not in report] == []
    assert all(verdict.because in report for verdict in found.verdicts)


def test_without_a_folder_it_goes_where_the_command_line_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lmkit.experiments.engine.engine.render", lambda chart: b"<svg/>")
    found = lmkit.experiment("one-unit", quick=True)
    assert (tmp_path / "experiments" / "one-unit-quick" / "report.md").exists()
    assert QUICK in repr(found)
    assert QUICK in found._repr_html_()


def test_a_notebook_shows_verdicts_tables_and_pictures(made: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch):
    _, found = made
    monkeypatch.setattr("lmkit.plots.picture.render", lambda chart, **how: b"<svg>drawn</svg>")
    shown = found._repr_html_()
    assert "<b>Partly</b>: claim 10, &ldquo;Inputs shrink at each step" in shown
    assert "<th>linear unit</th>" in shown
    assert "<td>0.0001</td>" in shown
    assert shown.count("data:image/svg+xml;base64,") == len(found.charts) == 1
    assert repr(found).splitlines()[1].startswith("claim 10: partly. Contribution of an input 4 steps ago")
    (picture,) = found.pictures.values()
    assert picture._repr_svg_() == "<svg>drawn</svg>"
    assert repr(picture) == "Picture('One unit: what an input still moves')"
    for module in ("plots.picture", "experiments.engine.result"):
        monkeypatch.setattr(f"lmkit.{module}.can_render", lambda: False)
    assert picture._repr_svg_() is None
    assert "<img" not in found._repr_html_()


def test_a_table_is_text_and_html():
    table = Table("A < B", ["what", "n"], [["one", "1"], ["a & b", "12"]], note="Counted.")
    assert repr(table).splitlines() == ["A < B", "what   n", "one    1", "a & b  12", "Counted."]
    assert table._repr_html_() == (
        "<h4>A &lt; B</h4><table><tr><th>what</th><th>n</th></tr><tr><td>one</td><td>1</td></tr>"
        "<tr><td>a &amp; b</td><td>12</td></tr></table><p>Counted.</p>"
    )


def test_what_is_no_result_is_refused(made: tuple[Path, Result], tmp_path: Path):
    values = json.loads((made[0] / "result.json").read_text(encoding="utf-8"))

    def written(**changes: object) -> Path:
        kept = {name: value for name, value in {**values, **changes}.items() if value is not None}
        (tmp_path / "result.json").write_text(json.dumps(kept), encoding="utf-8")
        return tmp_path

    with pytest.raises(RunError, match=r"no finished experiment in .*`lmkit experiment NAME --out"):
        lmkit.load_experiment(tmp_path)
    with pytest.raises(RunError, match="it lacks arms"):
        lmkit.load_experiment(written(arms=None))
    with pytest.raises(RunError, match="is of sweep"):
        lmkit.load_experiment(written(experiment="sweep"))
    with pytest.raises(RunError, match="has other arms"):
        lmkit.load_experiment(written(arms=values["arms"][1:]))
    with pytest.raises(ConfigError, match="did you mean one-unit"):
        lmkit.experiment("one-unt")


def test_ctrl_c_in_a_notebook_is_a_keyboard_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*arguments: object, **how: object) -> None:
        raise Interrupted

    monkeypatch.setattr("lmkit.experiments.api.run_experiment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lmkit.experiment("one-unit", out=tmp_path / "out")
