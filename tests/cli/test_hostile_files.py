"""Files from a stranger: no code runs, nothing hangs, little is allocated, nothing is written elsewhere, and what does
not fit is refused in a sentence.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import re
import signal
import socket
import struct
import sys
import traceback
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from lmkit.cli import main
from lmkit.doctor.check import Check
from lmkit.doctor.run.round_trip import round_trip
from lmkit.errors import DataError, LmkitError, RunError
from lmkit.evaluation.scoring.nbest import read_nbest
from lmkit.run.directory import RunDirectory
from lmkit.run.log import LogFile
from lmkit.text.documents import split_documents
from lmkit.text.sources.reading import read_text
from lmkit.text.tokenizers.kinds import load_tokenizer
from lmkit.text.tokenizers.tokenizer import Tokenizer, rechunk
from lmkit.text.tokenizers.word import WordTokenizer

resource = pytest.importorskip("resource")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="pipes, devices and limits as Linux has them"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]

RUN_FILES = ("config.json", "tokenizer.json", "model.safetensors", "run.json", "metrics.jsonl")
READERS = {
    "config.json": ("eval", "sample", "info", "doctor"),
    "tokenizer.json": ("eval", "sample", "info", "doctor"),
    "model.safetensors": ("eval", "sample"),
    "run.json": ("eval", "info"),
    "metrics.jsonl": ("info",),
}
GIBIBYTE = 1 << 30


class Outcome(NamedTuple):
    code: int
    stderr: str


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    """A command that waits for a pipe is interrupted, and the test fails."""

    def interrupt(number: int, frame: Any) -> None:
        pytest.fail("it hangs")  # no Exception, which a command could take for a fault of the file

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(100)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def limited(work: Path, tmp_path: Path) -> Callable[..., Outcome]:
    """Call lmkit in a child of this process that may allocate one gibibyte more."""

    def limit() -> None:
        (used,) = re.findall(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
        size = 1024 * int(used) + GIBIBYTE
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))

    def call(*arguments: object, stdout: Path | None = None) -> Outcome:
        return forked([str(part) for part in arguments], stdout or tmp_path / "stdout", tmp_path / "stderr", limit)

    return call


def forked(arguments: list[str], stdout: Path, stderr: Path, before: Callable[[], None]) -> Outcome:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number, path in ((1, stdout), (2, stderr)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))
            before()
            main(arguments, prog_name="lmkit")
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    try:
        _, status = os.waitpid(child, 0)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    said = stderr.read_text(encoding="utf-8")
    assert "Traceback" not in said
    return Outcome(os.waitstatus_to_exitcode(status), said)


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    before = os.getcwd()
    os.chdir(path.parent)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)
    os.chdir(before)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "pipe": make_pipe,
    "socket": make_socket,
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "loop": lambda path: path.symlink_to(path.name),
}


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def put(path: Path, *keys: str, value: object) -> None:
    """Another value at a place in a JSON file."""

    def change(document: dict[str, Any]) -> None:
        *sections, last = keys
        for section in sections:
            document = document[section]
        document[last] = value

    rewrite(path, change)


def rewrite_header(path: Path, change: Callable[[dict[str, Any]], None], more: bytes = b"") -> None:
    """A safetensors file with another header and the same numbers; ``more`` follows them."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :] + more)


# What is no regular file


@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "pipe") for name in RUN_FILES), *zip(RUN_FILES, SPECIAL, strict=True)][:-1]
)
def test_no_command_waits_for_what_is_no_file(refused, damaged, name: str, kind: str):
    (damaged / name).unlink()
    SPECIAL[kind](damaged / name)
    for command in READERS[name]:
        message = refused(command, damaged)
        assert name in message


def test_a_pipe_in_a_run_is_called_what_it_is(refused, damaged):
    for name in ("config.json", "tokenizer.json"):
        content = (damaged / name).read_bytes()
        (damaged / name).unlink()
        os.mkfifo(damaged / name)
        assert "no regular file" in refused("eval", damaged)
        (damaged / name).unlink()
        (damaged / name).write_bytes(content)
    (damaged / "model.safetensors").unlink()
    os.mkfifo(damaged / "model.safetensors")
    assert "not a regular file" in refused("eval", damaged)


def test_no_text_or_option_is_read_from_what_is_no_file(refused, cli, work, damaged, small):
    os.mkfifo(work / "special")
    for arguments in (
        ("eval", damaged, "--file", "special"),
        ("eval", damaged, "--arpa", "special"),
        ("score", damaged, "special"),
        ("score", damaged, "--nbest", "special"),
        ("compare", damaged, damaged, "--file", "special"),
        ("train", "--corpus", "special", "--out", "new", *small),
        ("train", "--config", "special", "--out", "new"),
        ("train", "--corpus", "text.txt", "--tokenizer", "special", "--out", "new", *small),
        ("tokenize", "special"),
        ("tokenize", "special", "--stats"),
    ):
        assert "not a regular file" in refused(*arguments)
    outcome = cli("doctor", "--corpus", "special", "--threads", 1)
    assert outcome.code == 1
    assert "not a regular file" in outcome.stdout


def test_a_path_in_a_strangers_configuration_may_lead_to_a_pipe(refused, work, damaged):
    os.mkfifo(work / "pipe")
    put(damaged / "config.json", "data", "corpus", value=str(work / "pipe"))
    assert "not a regular file" in refused("eval", damaged)


def test_a_pipe_in_a_folder_of_texts_is_passed_over(cli, work, damaged, text: str):
    (work / "texts").mkdir()
    (work / "texts" / "a.txt").write_text(text, encoding="utf-8", newline="")
    before = cli("eval", damaged, "--file", "texts", "--json", "--threads", 1)
    for name in ("b.txt", "train.txt", "c.md"):
        os.mkfifo(work / "texts" / name)
    after = cli("eval", damaged, "--file", "texts", "--json", "--threads", 1)
    assert (after.code, after.stdout) == (0, before.stdout)


def test_a_pipe_that_the_shell_made_is_read(cli, work, damaged):
    """``lmkit eval RUN --file <(zcat text.gz)``: read once and kept, because a text is read more than once."""
    told = cli("eval", damaged, "--file", "text.txt", "--json", "--threads", 1).stdout
    for command, *options in (("eval", "--file"), ("score", "--per", "line")):
        ours, theirs = os.pipe()
        os.write(theirs, (work / "text.txt").read_bytes())
        os.close(theirs)
        outcome = cli(command, damaged, *options, f"/dev/fd/{ours}", "--json", "--threads", 1)
        os.close(ours)
        assert outcome.code == 0, outcome.stderr
        if command == "eval":
            assert {**json.loads(outcome.stdout), "split": ""} == {**json.loads(told), "split": ""}


# Sizes


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_file_that_is_only_long_is_not_read(limited, damaged, name: str):
    with (damaged / name).open("wb") as file:
        file.truncate(1 << 36)
    outcome = limited(READERS[name][0], damaged, *(() if READERS[name][0] == "info" else ("--threads", 1)))
    assert outcome.code == 2, outcome.stderr
    assert name in outcome.stderr


def test_bytes_behind_the_weights_are_not_read(limited, damaged):
    with (damaged / "model.safetensors").open("r+b") as file:
        file.truncate(1 << 36)
    outcome = limited("sample", damaged)
    assert outcome.code == 2, outcome.stderr
    assert "model.safetensors" in outcome.stderr


def test_weights_are_not_allocated_for_what_only_a_configuration_says(limited, damaged):
    rewrite(damaged / "config.json", lambda values: values["model"].update(hidden_size=65536, num_layers=64))
    outcome = limited("sample", damaged)
    assert outcome.code == 2, outcome.stderr
    assert "config.json" in outcome.stderr


def test_a_vocabulary_is_not_allocated_for_what_only_an_id_says(limited, damaged):
    put(damaged / "tokenizer.json", "model", "vocab", "x", value=2**32 - 2)
    outcome = limited("sample", damaged)
    assert outcome.code == 2, outcome.stderr
    assert "tokenizer.json" in outcome.stderr
    put(damaged / "tokenizer.json", "model", "vocab", "x", value=2**40)
    assert limited("sample", damaged).code == 2


def test_a_compressed_text_is_never_held_whole(tmp_path: Path):
    path = tmp_path / "bomb.txt.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(100):
            file.write(b"a" * (1 << 20))
    assert path.stat().st_size * 900 < 100 << 20
    tracemalloc.start()
    characters = sum(map(len, read_text(path)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert characters == 100 << 20
    assert peak < 16 << 20


def test_a_text_that_cannot_be_cut_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmkit.text.tokenizers.tokenizer.LONGEST_PART", 1000)
    monkeypatch.setattr("lmkit.text.documents.LONGEST_DOCUMENT", 1000)
    monkeypatch.setattr("lmkit.evaluation.scoring.nbest.LONGEST_LIST", 1000)
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 100
            yield "x" * 100

    for work in (
        lambda: list(rechunk(endless(), WordTokenizer(["<unk>", "<eos>", "x"]).cut)),
        lambda: list(split_documents(endless(), "line")),
        lambda: list(split_documents(endless(), "blank-line")),
        lambda: read_nbest(endless(), "bomb"),
    ):
        read = 0
        with pytest.raises(DataError, match="more than 1,000 characters"):
            work()
        assert read < 2000


def test_a_long_text_is_read_where_it_can_be_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lmkit.text.tokenizers.tokenizer.LONGEST_PART", 1000)
    monkeypatch.setattr("lmkit.text.documents.LONGEST_DOCUMENT", 1000)
    chunks = ["some words and a line end\n" * 30] * 50
    assert "".join(rechunk(chunks, WordTokenizer(["<unk>", "<eos>", "x"]).cut)) == "".join(chunks)
    pauses = ["x" * 600, " y "] * 50  # much without a space, but never at a time
    assert "".join(rechunk(pauses, WordTokenizer(["<unk>", "<eos>", "x"]).cut)) == "".join(pauses)
    assert "".join(part for whole in split_documents(chunks, "line") for part in whole) == "".join(chunks)


def test_scores_are_not_scored(limited, work, damaged):
    """``lmkit score RUN . > scores.tsv`` would read what it writes, without end."""
    outcome = limited("score", damaged, ".", stdout=work / "scores.txt")
    assert outcome.code == 2
    assert "scores.txt" in outcome.stderr
    assert (work / "scores.txt").read_bytes() == b""


def test_memory_that_is_not_there_is_told_in_a_sentence(cli, damaged, monkeypatch: pytest.MonkeyPatch):
    for error in (
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 byte"),
    ):

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("lmkit.api.load_language_model", fail)
        outcome = cli("eval", damaged)
        assert outcome.code == 1
        assert "not enough memory" in outcome.stderr
        assert outcome.stderr.count("\n") == 1


def test_no_number_of_resamples_fills_the_memory(refused, damaged):
    assert "--resamples" in refused("compare", damaged, damaged, "--resamples", 10**9)


def test_counts_of_an_arpa_file_allocate_nothing(limited, work, damaged):
    (work / "huge.arpa").write_text(f"\\data\\\nngram 1={10**12}\n\n\\1-grams:\n-1 a\n\\end\\\n", encoding="utf-8")
    outcome = limited("eval", damaged, "--arpa", "huge.arpa", "--threads", 1)
    assert outcome.code == 2, outcome.stderr
    assert "huge.arpa" in outcome.stderr


def test_words_of_an_arpa_file_are_shown_in_short(refused, work, damaged):
    words = "".join(f"-1 {letter * 5000}\n" for letter in "abc")
    (work / "long.arpa").write_text(f"\\data\\\nngram 1=3\n\n\\1-grams:\n{words}\\end\\\n", encoding="utf-8")
    assert "are not tokens" in refused("eval", damaged, "--arpa", "long.arpa")


# JSON and TOML


@pytest.mark.parametrize(
    "literal",
    [
        *("1e400", "NaN", "1" + "0" * 400, "1" + "0" * 5000),
        *("[" * 900 + "]" * 900, "[" * 10**6, '"' + "x" * 10**5 + '"', '"\\ud800"'),
    ],
    ids=lambda literal: literal[:12],
)
def test_a_value_that_no_program_expects_is_refused(refused, damaged, literal: str):
    path = damaged / "config.json"
    whole = path.read_text(encoding="utf-8")
    for section, name in (("model", "hidden_size"), ("training", "lr"), ("data", "corpus")):
        put(path, section, name, value="MARK")
        path.write_text(path.read_text(encoding="utf-8").replace('"MARK"', literal), encoding="utf-8")
        assert "config.json" in refused("info", damaged)
        path.write_text(whole, encoding="utf-8")


def test_minus_zero_is_zero(cli, damaged):
    before = cli("sample", damaged, "--length", 20).stdout
    put(damaged / "config.json", "model", "dropout", value=-0.0)
    assert cli("sample", damaged, "--length", 20).stdout == before


@pytest.mark.parametrize("literal", ["1" + "0" * 5000, "[" * 10**6, '{"a": "\\udfff"}'])
def test_a_record_of_a_run_that_cannot_be_shown_is_refused(refused, damaged, literal: str):
    put(damaged / "run.json", "cpu", value="MARK")
    path = damaged / "run.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"MARK"', literal), encoding="utf-8")
    assert "run.json" in refused("info", damaged)


def test_a_line_of_metrics_that_cannot_be_shown_is_passed_over(cli, damaged):
    before = cli("info", damaged).stdout
    with (damaged / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for value in ("1" + "0" * 5000, '"\\ud800"', "[" * 10**6, '"' + "x" * (1 << 21) + '"'):
            file.write(f'{{"kind": "final", "perplexity": 2.0, "split": {value}}}\n')
    assert cli("info", damaged).stdout == before


@pytest.mark.parametrize(
    "content",
    [
        *("x = 1" + "0" * 5000, "[model]\nhidden_size = 0x" + "f" * 5000, "a = " + "[" * 10**5),
        *(".".join(["a"] * 5000) + " = 1", "[training]\nlr = nan", "[data]\ncorpus = 1979-05-27"),
    ],
    ids=lambda content: content[:20],
)
def test_a_configuration_file_is_refused_in_a_sentence(refused, work, content: str):
    (work / "config.toml").write_text(content, encoding="utf-8")
    assert refused("train", "--config", "config.toml", "--out", "new")


def test_a_configuration_file_that_is_only_long_is_not_read(limited, work):
    with (work / "config.toml").open("wb") as file:
        file.truncate(1 << 36)
    outcome = limited("train", "--config", "config.toml")
    assert outcome.code == 2, outcome.stderr


# Tokenizers


@pytest.mark.parametrize(
    "merges",
    [None, [17], [["a", "b", "c"]], [["a", 1]], [["no such", "token"]], ["a"], [["t", "Q~"]]],
    ids=str,
)
def test_merges_that_make_no_tokens_are_refused(tmp_path: Path, merges: Any):
    from lmkit.text.tokenizers.bpe import BPETokenizer

    document = BPETokenizer.train(["the cat sat on the mat"] * 20, vocab_size=262).document()
    document["model"]["merges"] = merges
    (tmp_path / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(LmkitError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_vocabulary_of_half_characters_is_refused(refused, damaged):
    def halve(document: dict[str, Any]) -> None:
        vocabulary = document["model"]["vocab"]
        vocabulary["\ud800"] = vocabulary.pop(list(vocabulary)[-1])

    rewrite(damaged / "tokenizer.json", halve)
    for command in ("sample", "eval"):
        assert "tokenizer.json" in refused(command, damaged)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_a_tokenizer_is_not_trained_on_half_characters(kind: str):
    from lmkit.text.tokenizers.kinds import TOKENIZERS

    with pytest.raises(LmkitError, match="lone surrogate"):
        TOKENIZERS[kind].train(["some text \udc00 and more"])


def test_the_configurations_vocabulary_must_be_the_tokenizers(refused, damaged):
    for wrong in (37, 10**30, "38", None, -38):
        put(damaged / "config.json", "vocab_size", value=wrong)
        assert "config.json" in refused("sample", damaged)


# Weights


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "int8"])
def test_weights_of_another_type_are_refused(refused, damaged, dtype: str):
    path = damaged / "model.safetensors"
    tensors = load_file(path)
    for names in (list(tensors), ["head.bias"]):
        save_file({name: t.to(getattr(torch, dtype)) if name in names else t for name, t in tensors.items()}, path)
        message = refused("sample", damaged)
        assert "model.safetensors" in message
        assert "is of the type" in message


def test_a_flipped_bit_in_the_weights_is_found(refused, cli, damaged):
    path = damaged / "model.safetensors"
    whole = path.read_bytes()
    for place in (-1, -300, len(whole) // 2):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        for command in ("eval", "sample"):
            assert "not those that were saved" in refused(command, damaged)
        outcome = cli("doctor", damaged, "--threads", 1)
        assert outcome.code == 1
        assert "FAILED   weights" in outcome.stdout


def test_tensors_that_changed_places_are_found(refused, damaged):
    def swap(header: dict[str, Any]) -> None:
        first, second = "recurrent.layers.0.bias_ih_l0", "recurrent.layers.0.bias_hh_l0"
        header[first], header[second] = header[second], header[first]

    rewrite_header(damaged / "model.safetensors", swap)
    assert "not those that were saved" in refused("sample", damaged)


def test_weights_that_another_program_wrote_need_no_checksum(cli, damaged):
    path = damaged / "model.safetensors"
    before = cli("sample", damaged, "--length", 30).stdout
    save_file(load_file(path), path)
    outcome = cli("sample", damaged, "--length", 30)
    assert (outcome.code, outcome.stdout) == (0, before)


HEADERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a hole": lambda header: [
        entry.update(data_offsets=[n + 4 for n in entry["data_offsets"]]) for entry in tensors_of(header)
    ],
    "an overlap": lambda header: header["head.bias"].update(data_offsets=[0, 4 * 38]),
    "behind the end": lambda header: header["head.bias"].update(data_offsets=[2**40, 2**40 + 4 * 38]),
    "too large a shape": lambda header: header["head.bias"].update(shape=[2**40]),
    "a shape of text": lambda header: header["head.bias"].update(shape="38"),
    "one more": lambda header: header.update(more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
    "one less": lambda header: header.pop("head.bias"),
    "no table": lambda header: header.update({"head.bias": [1, 2]}),
    "an unknown type": lambda header: header["head.bias"].update(dtype="F" * 10**5),
    "a note of another kind": lambda header: header.update(__metadata__={"lmkit": "{"}),
}


def tensors_of(header: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for name, entry in header.items() if name != "__metadata__"]


@pytest.mark.parametrize("fault", HEADERS)
def test_a_header_that_does_not_fit_its_file_is_refused(refused, damaged, fault: str):
    rewrite_header(damaged / "model.safetensors", HEADERS[fault])
    assert "model.safetensors" in refused("sample", damaged)


def test_bytes_behind_the_last_tensor_are_refused(refused, damaged):
    rewrite_header(damaged / "model.safetensors", lambda header: None, more=b"\0" * 8)
    assert "model.safetensors" in refused("sample", damaged)


def test_a_tied_model_is_not_taken_for_an_untied_one(refused, cli, work, small, damaged):
    cli("train", "--corpus", "text.txt", "--tied", *small, "--max-steps", 1, "--out", "tied")
    for run, value in ((damaged, True), (work / "tied", False)):
        put(run / "config.json", "model", "tie_embeddings", value=value)
        assert "model.safetensors" in refused("sample", run)


def test_an_order_of_tokens_that_is_none_is_refused(refused, cli, work, small):
    arguments = ("--tokenizer", "bpe", "--vocab-size", 270, "--head", "adaptive", "--max-steps", 1, "--out", "adaptive")
    assert cli("train", "--corpus", "text.txt", *small, *arguments).code == 0
    path = work / "adaptive" / "model.safetensors"
    tensors = load_file(path)
    order = tensors["head.order"].clone()
    for wrong in (order[1], torch.tensor(270), torch.tensor(-1)):  # twice, too large, negative
        tensors["head.order"][0] = wrong
        save_file(tensors, path)
        assert "head.order" in refused("sample", "adaptive")


# Code, and places outside


class _Harm:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_a_pickle_is_never_opened(cli, work, damaged, tmp_path: Path, name: str):
    harm = tmp_path / "harm"
    for content in (pickle.dumps(_Harm(harm)), None):
        if content is None:
            torch.save(_Harm(harm), damaged / name)
        else:
            (damaged / name).write_bytes(content)
        for command in READERS[name]:
            assert cli(command, damaged).code in (0, 1, 2)
        assert not harm.exists()


@pytest.mark.parametrize("name", ["metrics.jsonl", "timings.jsonl"])
def test_nothing_is_written_through_a_link(damaged, work, name: str):
    (work / "precious").write_text("mine\n", encoding="utf-8")
    (damaged / name).unlink()
    (damaged / name).symlink_to(work / "precious")
    log = LogFile(damaged / name)
    assert not log.add({"kind": "training", "step": 1})
    with pytest.raises(RunError, match=f"{name}.*link"):
        log.continue_from(0, None)
    assert (work / "precious").read_text(encoding="utf-8") == "mine\n"
    (damaged / name).unlink()
    os.mkfifo(damaged / name)
    assert not log.add({"kind": "training", "step": 1})
    with pytest.raises(RunError, match="not a regular file"):
        log.continue_from(0, None)


def test_a_run_whose_log_is_a_link_is_not_resumed(cli, work, damaged):
    (work / "precious").write_text("mine\n", encoding="utf-8")
    (damaged / "metrics.jsonl").unlink()
    (damaged / "metrics.jsonl").symlink_to(work / "precious")
    outcome = cli("train", "--resume", damaged)
    assert outcome.code == 2, outcome
    assert "link" in outcome.stderr
    assert (work / "precious").read_text(encoding="utf-8") == "mine\n"


@pytest.mark.parametrize("name", ["model.safetensors", "timings.jsonl", "metrics.jsonl"])
def test_a_file_of_64_gib_of_nothing_is_not_read_whole_by_a_resume(cli, damaged, name: str):
    best = (damaged / "model.safetensors").read_bytes()
    with (damaged / name).open("wb") as file:
        file.truncate(1 << 36)
    outcome = cli("train", "--resume", damaged)
    assert outcome.code == 0, outcome
    assert (damaged / "model.safetensors").read_bytes() == best


def test_weights_take_the_place_of_a_link_and_not_of_its_target(damaged, work):
    (work / "precious").write_text("mine\n", encoding="utf-8")
    run = RunDirectory(damaged)
    model = run.load_model(run.stored().language_model, torch.device("cpu"))
    (damaged / "model.safetensors").unlink()
    (damaged / "model.safetensors").symlink_to(work / "precious")
    run.save_model(model)
    assert (work / "precious").read_text(encoding="utf-8") == "mine\n"
    assert not (damaged / "model.safetensors").is_symlink()


def test_nothing_is_told_of_a_text_that_only_a_strangers_configuration_names(cli, work, damaged, monkeypatch):
    quoted = []

    def watched(tokenizer: Tokenizer, text: str = "") -> Check:
        quoted.append(text)  # a tokenizer that loses characters has some of them shown
        return round_trip(tokenizer, text)

    monkeypatch.setattr("lmkit.doctor.run.run.round_trip", watched)
    (work / "private.txt").write_text("My password is swordfish. " * 400, encoding="utf-8")
    for corpus in (str(work / "private.txt"), "private.txt", "../private.txt"):
        put(damaged / "config.json", "data", "corpus", value=corpus)
        before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
        for arguments in (("eval",), ("eval", "--json"), ("doctor",), ("doctor", "--json"), ("info",)):
            outcome = cli(arguments[0], damaged, *arguments[1:])
            said = outcome.stdout + outcome.stderr
            assert "swordfish" not in said
            assert "My password" not in said
        assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == before
    assert quoted == [""] * 6
