"""``lmkit score``: rows for people and programs, the numbers of ``lmkit eval``, and clear words about bad input."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lmkit
from tests import forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

TEXT = "The cat sat on the mat.\nA dog ran.\n\nThe cat sat on the mat.\nOne"
TOKEN_HEADER = ["token", "id", "start", "end", "word", "line", "logprob_nats", "surprisal_bits", "oov"]


def table(outcome: Any) -> list[dict[str, str]]:
    """The rows of a tsv by name."""
    assert outcome.code == 0, outcome
    header, *rows = outcome.stdout.removesuffix("\n").split("\n")
    return [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]


def objects(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome
    return [json.loads(line) for line in outcome.stdout.splitlines()]


@pytest.fixture
def file(work: Path) -> Path:
    path = work / "some.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


# The numbers


def test_the_tokens_add_up_to_eval(cli, trained, file):
    rows = table(cli("score", trained, file))
    evaluation = json.loads(cli("eval", trained, "--file", file, "--json").stdout)
    assert list(rows[0]) == TOKEN_HEADER
    assert len(rows) == evaluation["tokens"] == len(TEXT)
    total = math.fsum(float(row["logprob_nats"]) for row in rows)
    assert -total == pytest.approx(evaluation["nll_nats"], rel=1e-6)
    bits = math.fsum(float(row["surprisal_bits"]) for row in rows)
    assert bits == pytest.approx(evaluation["nll_nats"] / math.log(2), rel=1e-6)
    assert sum(int(row["oov"]) for row in rows) == evaluation["oov_tokens"]


def test_files_and_folders_add_up_to_eval_of_the_folder(cli, trained, work):
    folder = work / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("The cat.\n", encoding="utf-8")
    (folder / "b.txt").write_text("A dog\n\n", encoding="utf-8")
    (folder / "c.txt.gz").write_bytes(gzip.compress(b"a man"))
    evaluation = json.loads(cli("eval", trained, "--file", folder, "--json").stdout)
    files = [f"{folder}/{name}" for name in ("a.txt", "b.txt", "c.txt.gz")]
    for arguments in (files, [folder]):
        rows = table(cli("score", trained, *arguments))
        assert list(rows[0]) == ["file", *TOKEN_HEADER]
        assert list(dict.fromkeys(row["file"] for row in rows)) == files
        total = math.fsum(float(row["logprob_nats"]) for row in rows)
        assert -total == pytest.approx(evaluation["nll_nats"], rel=1e-6)


def test_words_and_lines_are_rows_too(cli, trained, file):
    words = table(cli("score", trained, file, "--per", "word"))
    assert [row["text"] for row in words[:8]] == ["The", "cat", "sat", "on", "the", "mat.", "\\n", "A"]
    assert [TEXT[int(row["start"]) : int(row["end"])] for row in words[:3]] == ["The", "cat", "sat"]
    lines = table(cli("score", trained, file, "--per", "line"))
    assert [row["words"] for row in lines] == ["6", "3", "0", "6", "1"]
    assert [row["tokens"] for row in lines] == ["24", "11", "1", "24", "3"]
    tokens = table(cli("score", trained, file))
    for line in lines:
        mine = [float(row["logprob_nats"]) for row in tokens if row["line"] == line["line"]]
        assert float(line["logprob_nats"]) == pytest.approx(math.fsum(mine), rel=1e-6)
        assert float(line["perplexity"]) == pytest.approx(math.exp(-math.fsum(mine) / len(mine)), rel=1e-6)
    assert {row["word"] for row in tokens} == {row["word"] for row in words}
    numbers = [(int(row["line"]), int(row["word_in_line"])) for row in words]
    first, last = [(1, number) for number in range(1, 8)], [(4, number) for number in range(1, 8)]
    assert numbers == [*first, (2, 1), (2, 2), (2, 3), (2, 4), (3, 1), *last, (5, 1)]


@pytest.mark.parametrize("name", ["--state", "--context"])
def test_equal_lines_have_equal_scores_under_the_line_state(cli, trained, file, name):
    outcome = cli("score", trained, file, "--per", "line", name, "line")
    rows = table(outcome)
    assert float(rows[0]["logprob_nats"]) == pytest.approx(float(rows[3]["logprob_nats"]), abs=1e-5)
    assert outcome.stderr == (
        "Note: The model was trained with state carry; this is state line: each line is read without the text before "
        "it, which usually raises the loss. Compare it only with figures of state line.\n"
    )
    carried = table(cli("score", trained, file, "--per", "line", name, "carry"))
    assert float(carried[0]["logprob_nats"]) != pytest.approx(float(carried[3]["logprob_nats"]), abs=1e-3)


def test_the_note_comes_once(cli, trained):
    outcome = cli("score", trained, "--per", "line", "--state", "line", input="The cat. " * 20_000)
    assert outcome.stderr.count("Note") == 1


def test_stream_is_another_name_for_carry_and_surprisal_for_score(cli, trained, file):
    expected = cli("score", trained, file)
    assert cli("surprisal", trained, file, "--context", "stream") == expected
    assert expected.stderr == ""


def test_python_says_the_same(cli, trained, file):
    lm = lmkit.load(trained, "cpu")
    for per, records in (
        ("token", lm.score(TEXT, state="line")),
        ("word", lm.score_words(TEXT, state="line")),
        ("line", lm.score_lines(TEXT, state="line")),
    ):
        rows = table(cli("score", trained, file, "--per", per, "--state", "line"))
        assert [int(row["start"]) for row in rows] == [record.start for record in records]
        for name, values in (
            ("logprob_nats", [record.log_prob for record in records]),
            ("surprisal_bits", [record.surprisal for record in records]),
        ):
            assert [float(row[name]) for row in rows] == pytest.approx(values, rel=1e-6)


# The output


def test_standard_input_is_read_where_no_file_is_named(cli, trained):
    expected = cli("score", trained, "-", input="The cat")
    assert cli("score", trained, input="The cat") == expected
    assert [row["token"] for row in table(expected)] == list("The cat")


@pytest.mark.parametrize("per", ["token", "word", "line"])
def test_all_formats_say_the_same(cli, trained, file, per):
    arguments = ("score", trained, file, "--per", per, "--columns", "all")
    rows = table(cli(*arguments))
    found = objects(cli(*arguments, "--json"))
    assert found == objects(cli(*arguments, "--format", "jsonl"))
    read = list(csv.DictReader(io.StringIO(cli(*arguments, "--format", "csv").stdout)))
    assert len(rows) == len(found) == len(read)
    for row, other, third in zip(rows, found, read, strict=True):
        assert list(row) == list(other) == list(third)
        for name, value in other.items():
            shown = {True: "1", False: "0"}.get(value, value) if isinstance(value, bool) else value
            if isinstance(shown, str):
                assert third[name] == shown
                assert row[name] == shown.replace("\n", "\\n")
            else:
                assert row[name] == third[name]
                assert float(row[name]) == float(shown)


def test_tabs_and_line_ends_stay_in_their_cell(cli, trained):
    text = "a\tb\\\r\0\u2028\n"
    (row,) = [row for row in table(cli("score", trained, "--per", "word", input=text)) if "b" in row["text"]]
    assert row["text"] == "b\\\\"
    found = objects(cli("score", trained, "--per", "word", "--json", input=text))
    assert "".join(entry["text"] for entry in found) == "ab\\\0\u2028\n"  # \r stands before the word \0
    assert len(table(cli("score", trained, input=text))) == len(text)


@pytest.mark.parametrize(
    ("base", "unit", "size"), [("2", "bits", math.log(2)), ("e", "nats", 1), ("10", "hartleys", math.log(10))]
)
@pytest.mark.parametrize("name", ["--base", "--log-base"])
def test_the_base_is_in_the_name_of_the_column(cli, trained, base, unit, size, name):
    rows = table(cli("score", trained, name, base, "--columns", "logprob,surprisal,entropy", input="The"))
    assert list(rows[0]) == ["logprob_nats", f"surprisal_{unit}", f"entropy_{unit}"]
    for row in rows:
        assert float(row[f"surprisal_{unit}"]) == pytest.approx(-float(row["logprob_nats"]) / size, rel=1e-6)
        assert 0 < float(row[f"entropy_{unit}"]) < 8 / size


def test_columns_come_in_the_order_that_was_asked_for(cli, trained):
    assert (
        cli("score", trained, "--columns", "end, start,token", input="ab").stdout
        == "end\tstart\ttoken\n1\t0\ta\n2\t1\tb\n"
    )
    header = cli("score", trained, "--columns", "all", input="ab").stdout.split("\n")[0]
    assert header.split("\t") == [*TOKEN_HEADER[:-1], "entropy_bits", "rank", "oov"]


def test_the_most_probable_tokens_are_told(cli, trained):
    text = "The cat"
    rows = table(cli("score", trained, "--columns", "token,logprob,rank", "--top-k", "2", input=text))
    found = objects(cli("score", trained, "--columns", "token,logprob,rank", "--top-k", "2", "--json", input=text))
    assert list(rows[0]) == [
        *("token", "logprob_nats", "rank"),
        *("top1", "top1_logprob_nats", "top2", "top2_logprob_nats"),
    ]
    for row, other in zip(rows, found, strict=True):
        assert [row["top1"], row["top2"]] == [one["token"] for one in other["top"]]
        assert float(row["top1_logprob_nats"]) == other["top"][0]["logprob_nats"]
        assert float(row["top1_logprob_nats"]) >= float(row["top2_logprob_nats"])
        if row["rank"] in ("1", "2"):
            assert row[f"top{row['rank']}"] == row["token"]
            assert row[f"top{row['rank']}_logprob_nats"] == row["logprob_nats"]


# N-best lists


def test_an_n_best_list_is_rescored_and_sorted(cli, trained, work):
    (work / "list.txt").write_text(
        "7\t-1\tzzq kx\n7\t-1.5\tThe cat sat.\n8 ||| 0 |||\n8 ||| 0 ||| A dog.\n", encoding="utf-8"
    )
    rows = table(cli("score", trained, "--nbest", "list.txt", "--weight", "0.5"))
    assert list(rows[0]) == ["id", "total", "score", "logprob_nats", "tokens", "text"]
    assert [row["id"] for row in rows] == ["7", "7", "8", "8"]
    assert rows[0]["text"] == "The cat sat."
    assert {row["text"]: row["tokens"] for row in rows[2:]} == {"": "1", "A dog.": "7"}
    for row in rows:
        assert float(row["total"]) == pytest.approx(float(row["score"]) + 0.5 * float(row["logprob_nats"]), rel=1e-5)
    line = table(cli("score", trained, "--per", "line", "--state", "line", input="The cat sat.\n"))[0]
    assert float(rows[0]["logprob_nats"]) == pytest.approx(float(line["logprob_nats"]), abs=1e-5)


def test_an_n_best_list_may_come_from_standard_input(cli, trained):
    (found,) = objects(cli("score", trained, "--nbest", "-", "--json", input="1\t-2\ta"))
    assert found["total"] == pytest.approx(-2 + found["logprob_nats"], rel=1e-6)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ("1\t-1\ta\n1\tbad\tb\n", ["list.txt, line 2", "'bad' is not a number; expected id, score and text"]),
        ("1\t-1\ta\n1\tnan\tb\n", ["list.txt, line 2", "not a number"]),
        ("1\t-1\ta\nonly words\n", ["list.txt, line 2", "expected id, score and text"]),
        ("", ["list.txt is empty"]),
    ],
)
def test_mistakes_of_an_n_best_list_are_named_before_anything_is_written(refused, trained, work, listed, words):
    (work / "list.txt").write_text(listed, encoding="utf-8")
    message = refused("score", trained, "--nbest", "list.txt")
    assert all(word in message for word in words), message


# Bad input


@pytest.mark.parametrize("per", ["token", "word", "line"])
@pytest.mark.parametrize("state", ["carry", "line"])
def test_an_empty_text_is_refused(refused, trained, work, per, state):
    (work / "empty.txt").write_text("")
    for arguments in (["-"], ["empty.txt"], ["empty.txt", "empty.txt"]):
        assert "empty" in refused("score", trained, *arguments, "--per", per, "--state", state, input="")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.txt"], ["There is no file or folder missing.txt"]),
        (["text.txt", "missing.txt"], ["missing.txt"]),
        (["text.txt", "--columns", "nonsense"], ["no column 'nonsense'", "surprisal", "all"]),
        (["text.txt", "--per", "word", "--columns", "entropy"], ["no column 'entropy'", "--per token has entropy."]),
        (["text.txt", "--columns", ""], ["no column ''"]),
        (["text.txt", "--json", "--format", "csv"], ["--json is --format jsonl", "--format csv, not both"]),
        (["text.txt", "--per", "line", "--columns", "entropy"], ["no column 'entropy' with --per line"]),
        (["text.txt", "--per", "word", "--top-k", "3"], ["--top-k", "--per token"]),
        (["text.txt", "--weight", "1"], ["--weight", "--nbest"]),
        (["text.txt", "--nbest", "text.txt"], ["--nbest takes only"]),
        (["--nbest", "text.txt", "--per", "line"], ["--nbest takes only"]),
        (["--nbest", "text.txt", "--weight", "nan"], ["--weight", "nan"]),
        (["--nbest", "missing.txt"], ["missing.txt"]),
        (["text.txt", "--state", "reset"], ["--state", "reset"]),
        (["text.txt", "--top-k", "0"], ["--top-k"]),
        (["text.txt", "--base", "3"], ["--base"]),
    ],
    ids=str,
)
def test_mistakes_are_told_in_one_sentence(refused, trained, work, arguments, words):
    message = refused("score", trained, *arguments)
    assert all(word in message for word in words), message


def test_bytes_that_are_no_text_are_refused_with_their_place(refused, trained):
    assert "standard input is not UTF-8 at byte offset 4" in refused("score", trained, input=b"abc \xff")


@pytest.mark.parametrize("per", ["token", "word", "line"])
@pytest.mark.parametrize("strange", ["a", "\n", "\0", "a\r\nb\rc\n", "\ufeffa", "日本 語"], ids=ascii)
def test_strange_texts_have_scores(cli, trained, per, strange):
    rows = table(cli("score", trained, "--per", per, input=strange.encode()))
    assert rows
    assert all(math.isfinite(float(row["logprob_nats"])) for row in rows)


@pytest.mark.parametrize("per", ["token", "word", "line"])
def test_a_text_of_unknown_tokens_alone_gets_a_note(cli, trained, per):
    outcome = cli("score", trained, "--per", per, input="日本語".encode())
    assert outcome.code == 0
    assert outcome.stderr == "Note: all 3 tokens are <unk>: the scores say nothing about the text.\n"


@needs_fork
def test_a_pipe_that_is_closed_ends_it_quietly(trained, work):
    (work / "long.txt").write_text(TEXT * 3000, encoding="utf-8")
    reading, writing = os.pipe()
    arguments, before = ["score", str(trained), "long.txt", "--threads", "1"], partial(os.close, reading)
    with open(work / "errors", "wb") as errors, open(writing, "wb"):
        process = forks.start(arguments, work, stdout=writing, stderr=errors.fileno(), before=before)
    with open(reading, "rb") as output:
        assert output.readline().startswith(b"token\t")
    assert forks.ended(process) == 0
    assert (work / "errors").read_bytes() == b""


@needs_fork
def test_a_line_is_answered_before_the_next_one_is_written(trained, work):
    asked, asking = os.pipe()
    answered, answering = os.pipe()
    arguments = ["score", str(trained), "--threads", "1", "--per", "line", "--state", "line"]
    with open(asked, "rb"), open(answering, "wb"):
        process = forks.start(arguments, work, stdin=asked, stdout=answering, before=partial(os.close, asking))
    with open(asking, "wb") as questions, open(answered, "rb") as answers:
        for number in range(1, 4):
            questions.write(b"The cat.\n")
            questions.flush()
            if number == 1:
                assert answers.readline().startswith(b"line\t")
            assert answers.readline().startswith(f"{number}\t".encode())
    assert forks.ended(process) == 0


def test_no_threads_are_too_few(refused, trained):
    assert "--threads must be at least 1" in refused("score", trained, "--threads", 0, input="The cat.\n")
