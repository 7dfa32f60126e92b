"""The doctor: sound things pass, and every check finds the fault that it is there for."""

from __future__ import annotations

import gzip
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lmkit
from lmkit.config import Config, ModelConfig
from lmkit.doctor.check import FAILED, NOTE, OK, SKIPPED, WARNING, Check, judged
from lmkit.doctor.corpus.corpus import check_corpus, count_specials
from lmkit.doctor.corpus.encoding import ByteScan, byte_checks
from lmkit.doctor.corpus.estimate import estimate
from lmkit.doctor.run.carried import carried_state_checks
from lmkit.doctor.run.predictions import check_predictor
from lmkit.doctor.run.round_trip import round_trip
from lmkit.doctor.run.run import check_run, check_step_decoder, finite_weights
from lmkit.doctor.run.starts import check_starts
from lmkit.errors import DataError, RunError
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.generation.decoder import StepDecoder
from lmkit.model.language_model import LanguageModel
from lmkit.text import BPETokenizer, CharacterTokenizer, WordTokenizer
from lmkit.text.line_hash import Hashes
from lmkit.text.lines import SHORTEST_LINE, LineCounts, line_hashes
from lmkit.text.sources.chunk import Chunk

VOCABULARY, EOS = 11, 1
IDS = np.random.default_rng(0).integers(VOCABULARY, size=64)
LINE = "A line of forty characters and some more to be counted, number {}.\n"


def by_name(checks: Iterable[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def make_model(cell: str = "lstm", **options: Any) -> LanguageModel:
    torch.manual_seed(5)
    model = LanguageModel(ModelConfig(**{"cell": cell, "hidden_size": 8, "dropout": 0.3, **options}), VOCABULARY)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


# Predictions


def diagnosis(predictor: Any) -> set[str]:
    """The names of the checks that fail."""
    checks = check_predictor(predictor, IDS, vocab_size=VOCABULARY, eos_id=EOS, tolerance=1e-4)
    return {check.name for check in checks if check.status == FAILED}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("head", ["full", "adaptive"])
def test_a_sound_network_passes(cell: str, head: str):
    model = make_model(cell, num_layers=2, head=head)
    checks = by_name(check_predictor(NetworkPredictor(model), IDS, vocab_size=VOCABULARY, eos_id=EOS, tolerance=1e-4))
    assert {check.status for check in checks.values()} == {OK}
    assert len(checks) == 6
    assert checks["causality"].value == 0
    assert check_step_decoder(model, IDS, 1e-4).status == OK
    assert finite_weights(model).status == OK


class Sees(NetworkPredictor):
    """Looks at the token after the next one."""

    def distribution(self, tokens, state):
        whole, state = super().distribution(tokens, state)
        ahead = torch.roll(tokens, -1, dims=1)[..., None] * 0.01
        return (whole + ahead * torch.linspace(0, 1, VOCABULARY)).log_softmax(dim=-1), state


class Forgets(NetworkPredictor):
    """Begins every window anew."""

    def score(self, tokens, targets, state):
        return super().score(tokens, targets, self.initial_state(len(tokens)))


class Mixes(NetworkPredictor):
    """Lets a row's state flow into its neighbour's."""

    def score(self, tokens, targets, state):
        scores, state = super().score(tokens, targets, state)
        return scores, tuple(tuple(tensor + 0.1 * tensor.roll(1, 0) for tensor in layer) for layer in state)


class Swaps(NetworkPredictor):
    """Hands the rows' scores back in another order."""

    def score(self, tokens, targets, state):
        scores, state = super().score(tokens, targets, state)
        return scores.flip(0), state


class ResetsAll(NetworkPredictor):
    """Resets every row when one is to be reset."""

    def reset(self, state, rows):
        return super().reset(state, torch.ones_like(rows))


class Leaves(NetworkPredictor):
    """Loses a thousandth of the probability."""

    def distribution(self, tokens, state):
        whole, state = super().distribution(tokens, state)
        return whole - 0.001, state


class Breaks(NetworkPredictor):
    """Gives no number at all."""

    def score(self, tokens, targets, state):
        scores, state = super().score(tokens, targets, state)
        return scores * math.nan, state


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (Sees, {"causality", "scores = distribution"}),
        (Forgets, {"carried windows = one pass"}),
        (Mixes, {"carried windows = one pass", "rows are independent"}),
        (Swaps, {"rows are independent", "reset touches only its rows"}),
        (ResetsAll, {"reset touches only its rows"}),
        (Leaves, {"probabilities sum to one", "scores = distribution"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_predictor_is_found(kind: type, found: set[str]):
    assert diagnosis(kind(make_model())) == found


def test_what_is_not_a_number_never_passes():
    assert diagnosis(Breaks(make_model())) >= {"carried windows = one pass", "rows are independent", "causality"}
    assert judged("x", math.nan, 1.0, "", "broken").status == FAILED
    assert judged("x", math.nan, 1.0, "", "broken").as_dict()["value"] is None


LONG_IDS = np.random.default_rng(1).integers(VOCABULARY, size=1100)


def test_starts_of_a_model_that_forgets_pass():
    checks = by_name(check_starts(NetworkPredictor(make_model()), LONG_IDS, EOS))
    assert [check.status for check in checks.values()] == [OK, OK, OK]


def test_starts_of_a_model_that_never_forgets_are_found_and_its_rows_are_right():
    model = make_model(hidden_size=1, embedding_size=VOCABULARY)
    weights = {name: parameter.data for name, parameter in model.named_parameters()}
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_hh_l0"):
        weights[f"recurrent.layers.0.{name}"].zero_()
    # input, forget, cell, output: the token 0 sets the cell to one, all others leave it as it is
    weights["embedding.weight"].copy_(torch.eye(VOCABULARY))
    weights["recurrent.layers.0.bias_ih_l0"].copy_(torch.tensor([-30.0, 30, 0, 30]))
    weights["recurrent.layers.0.weight_ih_l0"][:, 0] = torch.tensor([60.0, -60, 30, 0])
    weights["head.weight"].copy_(torch.linspace(-3, 3, VOCABULARY)[:, None])
    ids = np.where(LONG_IDS == 0, VOCABULARY - 1, LONG_IDS)
    ids[0] = 0
    checks = by_name(check_starts(NetworkPredictor(model), ids, EOS))
    assert [check.status for check in checks.values()] == [WARNING, WARNING, OK]
    # the first start reads the token 0 where it begins with the token before
    assert [checks[name].value for name in ("starts in mid-text", "starts with <eos>")] == [63, 64]
    assert "15 repaired" in checks["rows = one stream"].finding


@pytest.mark.parametrize("kind", [Forgets, Breaks])
def test_rows_of_a_broken_predictor_are_found(kind: type):
    assert by_name(check_starts(kind(make_model()), LONG_IDS, EOS))["rows = one stream"].status == FAILED


def test_starts_need_a_text():
    assert {check.status for check in check_starts(NetworkPredictor(make_model()), IDS, EOS)} == {SKIPPED}


@pytest.mark.parametrize(
    ("state", "missing"), [("carry", "512 tokens of it"), ("document", "a document of 512 tokens")]
)
def test_a_carried_state_needs_a_long_text_or_document(state: str, missing: str):
    text = "a b\n" * (100 if state == "carry" else 1000)
    tokenizer, documents = CharacterTokenizer.train([text]), "file" if state == "carry" else "line"
    (check,) = carried_state_checks(make_model(), tokenizer, text, state=state, documents=documents)
    assert check.status == SKIPPED
    assert missing in check.finding


def test_a_step_decoder_with_other_weights_is_found(monkeypatch: pytest.MonkeyPatch):
    other = make_model()
    with torch.no_grad():
        other.recurrent.layers[0].bias_ih_l0[:8] += 1  # type: ignore[index,operator]
    monkeypatch.setattr("lmkit.doctor.run.run.StepDecoder", lambda model: StepDecoder(other))
    assert check_step_decoder(make_model(), IDS, 1e-4).status == FAILED


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(value: float):
    model = make_model()
    with torch.no_grad():
        model.embedding.weight[2, 3] = value
    check = finite_weights(model)
    assert (check.status, check.value) == (FAILED, 1)
    assert "embedding.weight" in check.advice[0]


# Tokenizers


@pytest.mark.parametrize("kind", [CharacterTokenizer, WordTokenizer, BPETokenizer])
def test_text_comes_back(kind: Any):
    text = "Some words\nand 漢字 é 🐈.\n" * 9
    assert round_trip(kind.train([text]), text + "unknown: ¿").status == OK


def test_a_character_that_changes_is_named(monkeypatch: pytest.MonkeyPatch):
    tokenizer = CharacterTokenizer.train(["abcdefgh"])
    monkeypatch.setattr(tokenizer, "decode", lambda ids: "abcDefgh"[: len(list(ids))])
    check = round_trip(tokenizer, "abcdefgh")
    assert (check.status, check.value) == (FAILED, 3)
    assert check.advice == ("'defgh' comes back as 'Defgh'.",)


def test_a_word_that_does_not_come_back_is_named():
    tokenizer = WordTokenizer([*WordTokenizer.train(["a b"]).vocabulary, "two words"])
    check = round_trip(tokenizer)
    assert check.status == FAILED
    assert "'two words' does not come back" in check.advice[0]


# Bytes


def scanned(*blocks: bytes) -> ByteScan:
    scan = ByteScan()
    scan.add("file", iter(blocks))
    return scan


def test_every_fault_of_utf8_has_its_place():
    scan = scanned(b"one\ntwo \xff\xfe\nthr", b"ee \xe2\x82 x\n", b"\xf0\x9f\x90", b"\x88 good\nend \xc3")
    places = [(fault.offset, fault.line, fault.data) for fault in scan.faults]
    assert places == [(8, 2, b"\xff"), (9, 2, b"\xfe"), (17, 3, b"\xe2\x82"), (36, 5, b"\xc3")]
    assert str(scan.faults[2]) == "file, line 3, byte offset 17: 0xe2 0x82."
    check = by_name(byte_checks(scan))["UTF-8"]
    assert (check.status, check.value, check.finding) == (FAILED, 4, "4 faults in 1 of 1 file")


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_faults_do_not_depend_on_blocks_and_are_those_of_the_decoder(data: bytes, cuts: list[int]):
    borders = [0, *sorted(cuts), len(data)]
    blocks = [data[begin:end] for begin, end in itertools.pairwise(borders)]
    scan = scanned(*blocks)
    assert scan.faults == scanned(data).faults
    kept = bytearray(data)
    for fault in reversed(scan.faults):
        assert data[fault.offset :].startswith(fault.data)
        assert fault.line == data[: fault.offset].count(b"\n") + 1
        kept[fault.offset : fault.offset + len(fault.data)] = "\ufffd".encode()
    assert kept.decode() == data.decode("utf-8", "replace")
    whole = scanned(data)
    assert (scan.pairs, scan.line_feeds, scan.returns) == (whole.pairs, whole.line_feeds, whole.returns)


def test_a_binary_file_is_not_searched_to_its_end():
    scan = scanned(b"\xff" * 5000, b"\xff" * 5000)
    assert len(scan.faults) == 1000
    assert "at least 1,000 faults" in by_name(byte_checks(scan))["UTF-8"].finding


def test_line_ends_nul_and_marks_are_told():
    checks = by_name(byte_checks(scanned(b"\xef\xbb\xbfone\r", b"\ntwo\nthree\rfo\0ur\n")))
    assert checks["UTF-8"].status == OK
    assert checks["line endings"].finding == "2 \\n, 1 \\r\\n, 1 \\r"
    assert {checks[name].status for name in ("line endings", "NUL bytes", "byte order marks")} == {WARNING}
    assert {check.status for check in byte_checks(scanned(b"plain\ntext\n"))} == {OK}
    assert by_name(byte_checks(scanned(b"a\r\nb\r\n")))["line endings"].status == WARNING
    utf16 = by_name(byte_checks(scanned("héllo".encode("utf-16"))))["UTF-8"]
    assert "looks like UTF-16" in utf16.advice[-1]


# Lines and special tokens


def test_lines_are_the_same_however_the_text_is_cut():
    text = "".join(LINE.format(number % 3) for number in range(9)) + "short\n" + LINE.format(8).strip()
    whole = hashes([(0, text)])
    assert len(whole) == 10
    assert len(set(whole.tolist())) == 4
    assert np.array_equal(hashes([(0, letter) for letter in text]), whole)
    assert len(hashes([(0, text[:100]), (1, text[100:])])) != len(whole)  # a document ends a line


@given(st.lists(st.text(st.sampled_from("aé\u3000😀\n"), max_size=30)))
def test_a_line_counts_if_it_has_enough_characters_whatever_bytes_they_take(parts):
    lines = [line for line in "".join(parts).split("\n") if len(line) >= 5]
    found = hashes([(0, part) for part in parts], shortest=5).tolist()
    assert len(found) == len(lines)
    assert [found.index(line) for line in found] == [lines.index(line) for line in lines]


def test_duplicates_are_counted_and_estimated_in_bounded_memory():
    exact, small = LineCounts(), LineCounts(most=100)
    for number in range(4000):
        for counts in (exact, small):
            counts.add(hashes([(0, LINE.format(number % 3000))]))
    assert exact.duplicate_rate == 0.25
    assert not exact.is_estimate
    assert small.is_estimate and len(small.counts) <= 100
    assert small.duplicate_rate == pytest.approx(0.25, abs=0.12)
    others = [(number, Chunk.of(LINE.format(number))) for number in (1, 2, 5000)]
    assert exact.share_known(others) == (2 / 3, 3)
    assert LineCounts().duplicate_rate == 0.0


def hashes(pieces: list[tuple[int, str]], shortest: int = SHORTEST_LINE) -> Hashes:
    return np.concatenate(list(line_hashes([(number, Chunk.of(text)) for number, text in pieces], shortest)))


def test_special_tokens_are_counted_across_borders():
    text = "a <unk> b<unk><unk> </s> <eo s>"
    assert count_specials([(0, text)]) == {"<unk>": 3, "</s>": 1}
    for cut in range(len(text)):
        assert count_specials([(0, text[:cut]), (0, text[cut:])]) == {"<unk>": 3, "</s>": 1}
    assert count_specials([(0, "<un"), (1, "k>")]) == {}


# Corpora


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str | bytes, name: str = "text.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def corpus_checks(path: Path, **options: Any) -> dict[str, Check]:
    values = {"corpus": str(path), "batch_size": 4, "window": 16, "hidden_size": 8, "threads": 1, **options}
    return by_name(check_corpus(Config().override(values)))


GOOD = "".join(LINE.format(number * 7919 % 1000) for number in range(500))


def test_a_good_text_passes(text_file):
    checks = corpus_checks(text_file(GOOD), split_at="line")
    assert {check.status for check in checks.values()} == {OK, NOTE}
    assert checks["duplicate lines"].value == 0
    assert {"splits", "parameters", "memory", "time", "overlap of test with train"} <= checks.keys()


def test_faults_stop_the_rest_and_are_all_told(text_file):
    checks = corpus_checks(text_file(GOOD.encode() + b"\xff\n\xff\n"))
    assert checks["UTF-8"].value == 2
    assert checks["everything else"].status == SKIPPED
    zipped = corpus_checks(text_file(gzip.compress(b"abc\n\xff"), "text.txt.gz"))
    assert "line 2, byte offset 4" in zipped["UTF-8"].advice[0]


def test_copies_are_found_inside_train_and_between_the_splits(text_file):
    checks = corpus_checks(text_file(GOOD[: len(GOOD) // 2] * 2))
    assert checks["duplicate lines"].status == WARNING
    assert checks["overlap of valid with train"].status == WARNING
    assert checks["overlap of test with train"].value == pytest.approx(1, abs=0.05)


def test_a_text_too_short_for_its_rows_fails_with_what_would_fit(text_file):
    checks = corpus_checks(text_file(GOOD), batch_size=4000, window=64)
    check = checks["size against batch and window"]
    assert check.status == FAILED
    advice = check.advice[0].split()
    rows, window = (int(advice[advice.index(flag) + 1]) for flag in ("--batch-size", "--window"))
    assert corpus_checks(text_file(GOOD), batch_size=rows, window=window)[check.name].status != FAILED


def test_unknown_words_are_counted_in_each_split(text_file):
    text = "known words only here\n" * 400 + "never seen before\n" * 50
    checks = corpus_checks(text_file(text), tokenizer="word", valid_fraction=0.05, test_fraction=0.05)
    assert checks["unknown tokens in test"].status == WARNING
    assert checks["unknown tokens in test"].value == pytest.approx(0.75, abs=0.05)
    assert corpus_checks(text_file(text), tokenizer="bpe")["unknown tokens"].status == OK


def test_written_special_tokens_matter_to_words_alone(text_file):
    text = GOOD.replace("forty", "<unk>").replace("line", "<eos>")
    words = corpus_checks(text_file(text), tokenizer="word")["special tokens in the text"]
    assert (words.status, len(words.advice), words.value) == (WARNING, 2, 1000)
    letters = corpus_checks(text_file(text))["special tokens in the text"]
    assert letters.status == OK and "ordinary characters" in letters.finding


def test_a_folder_says_what_it_leaves_out(tmp_path: Path):
    (tmp_path / "a.txt").write_text(GOOD, encoding="utf-8")
    (tmp_path / "b.bin").write_bytes(b"\0\xff")
    check = corpus_checks(tmp_path)["text"]
    assert check.status == WARNING
    assert check.advice == ("b.bin does not look like text and is skipped.",)


@pytest.mark.parametrize("text", ["", "a", " \n"])
def test_a_text_that_cannot_be_split_fails_with_the_reason(text_file, text: str):
    check = corpus_checks(text_file(text))["splits and tokens"]
    assert check.status == FAILED
    assert check.advice[0].endswith(".")


def test_a_text_that_is_not_there_is_the_users_mistake(tmp_path: Path):
    with pytest.raises(DataError, match="no file or folder"):
        corpus_checks(tmp_path / "absent.txt")


def test_few_documents_and_small_splits_are_told(text_file):
    checks = corpus_checks(text_file(GOOD[:4000]), sampler="document", batch_size=8)
    assert checks["documents"].status == WARNING
    assert checks["size of test"].status == WARNING
    assert corpus_checks(text_file(GOOD), valid_fraction=0)["validation split"].status == WARNING


def test_the_estimate_counts_parameters_exactly_and_grows_with_the_work():
    config = Config().override({"hidden_size": 32, "num_layers": 2, "threads": 1, "device": "cpu"})
    small = estimate(config, 50, 10_000)
    model = LanguageModel(config.model, 50)
    assert small.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert small.tokens == 15 * 10_000
    wide = estimate(config.override({"hidden_size": 64}), 50, 10_000)
    assert wide.seconds > 3 * small.seconds
    assert wide.bytes > small.bytes
    assert estimate(config.override({"threads": 2}), 50, 10_000).seconds == pytest.approx(small.seconds / 2)
    assert estimate(config.override({"max_steps": 3}), 50, 10_000).tokens == 3 * 32 * 64
    assert estimate(config.override({"optimizer": "sgd"}), 50, 10_000).bytes < small.bytes


# Runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "text.txt").write_text(GOOD, encoding="utf-8")
    options: dict[str, Any] = {
        "hidden_size": 8,
        "batch_size": 4,
        "window": 16,
        "max_steps": 5,
        "threads": 1,
        "precision": "float32",
    }
    lmkit.train(folder / "text.txt", out=folder / "run", quiet=True, **options)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a run, to be damaged."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def statuses(path: Path) -> dict[str, str]:
    return {check.name: check.status for check in check_run(path, "cpu")}


def test_a_sound_run_passes_every_check(trained: Path):
    checks = by_name(check_run(trained / "run", "cpu"))
    assert {check.status for check in checks.values()} == {OK}
    assert len(checks) == 26


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_another_tokenizer_is_found_by_its_hash(run: Path):
    tokenizer = lmkit.load_tokenizer(run / "tokenizer.json")
    swapped = CharacterTokenizer([*tokenizer.vocabulary[:2], *reversed(tokenizer.vocabulary[2:])])
    swapped.save(run / "tokenizer.json")
    found = statuses(run)
    assert [name for name, status in found.items() if status == FAILED] == ["tokenizer's hash"]


def test_a_number_of_parameters_that_is_not_the_recorded_one_is_found(run: Path):
    change_json(run / "run.json", parameters=17)
    assert statuses(run)["number of parameters"] == FAILED


def test_a_changed_text_is_found_and_an_absent_one_passed_over(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path / "cache"))  # whose index knows no other file with that text
    own = tmp_path / "own.txt"
    own.write_text(GOOD, encoding="utf-8")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    change_json(run / "config.json", data={**config["data"], "corpus": str(own)})
    assert statuses(run)["corpus"] == OK
    own.write_text(GOOD.replace("forty", "fifty"), encoding="utf-8")
    assert statuses(run)["corpus"] == FAILED
    own.unlink()
    found = statuses(run)
    assert found["corpus"] == SKIPPED
    assert FAILED not in found.values()


@pytest.mark.parametrize(
    ("name", "check", "skipped"),
    [
        ("config.json", "configuration", "everything else"),
        ("tokenizer.json", "tokenizer", "everything else"),
        ("run.json", "record of the run", "everything else"),
        ("model.safetensors", "weights", "predictions"),
    ],
)
def test_a_damaged_file_fails_its_check_and_skips_what_needs_it(run: Path, name: str, check: str, skipped: str):
    (run / name).write_bytes(b"damaged")
    found = by_name(check_run(run, "cpu"))
    assert found[check].status == FAILED
    assert name in found[check].advice[0]
    assert found[skipped].status == SKIPPED


def test_weights_of_other_shapes_fail(run: Path):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    change_json(run / "config.json", model={**config["model"], "hidden_size": 9})
    assert statuses(run)["weights"] == FAILED


def test_a_damaged_checkpoint_is_named_and_the_others_counted(run: Path):
    places = sorted((run / "checkpoints").iterdir())
    path = places[-1] / "training.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (check,) = [check for check in check_run(run, "cpu") if check.name == "checkpoints"]
    assert check.status == FAILED
    assert str(path) in check.advice[0]
    assert f"of {len(places)} can be used" in check.advice[-1]


def test_what_is_no_run_is_the_users_mistake(tmp_path: Path):
    with pytest.raises(RunError, match="no run folder"):
        list(check_run(tmp_path / "absent"))
