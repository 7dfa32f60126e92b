"""The corpus: cut in the text, tokenised with a vocabulary of the training split alone, counted in every unit."""

import gzip
import hashlib
import io
import math
import re
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.config import DataConfig
from lmkit.errors import ConfigError, DataError, TokenizerError
from lmkit.text import TOKENIZERS, CharacterTokenizer, Counts, WordTokenizer, build_corpus, encode_path, encode_text
from lmkit.text.corpus import CUT_WORD
from lmkit.text.counts import TextMeter
from lmkit.text.documents import EACH_LINE
from lmkit.text.sources.chunk import Chunk
from lmkit.text.sources.source import Document, is_within_word, line_cut, pieces, space_cut
from lmkit.text.token_file import write_tokens
from lmkit.text.whitespace import split_words

TEXT = "".join(f"line {number} of the text\n" for number in range(50))


def write(path, text):
    path.write_bytes(text.encode())
    return path


def texts(corpus) -> dict[str, str]:
    return {name: corpus.tokenizer.decode(split.ids) for name, split in corpus.splits.items()}


def test_splits_are_cut_in_characters_and_cover_the_text(tmp_path):
    corpus = build_corpus(DataConfig(corpus=str(write(tmp_path / "book.txt", TEXT))))
    assert corpus.name == "book"
    total = len(TEXT)
    cuts = [total * 8 // 10, total * 9 // 10]
    assert corpus.info["ranges"] == {"train": [0, cuts[0]], "valid": cuts, "test": [cuts[1], total]}
    text = sum((split.counts for split in corpus.splits.values()), Counts.zero)
    assert text.chars == text.bytes == text.tokens == total
    assert text.documents == 3
    for name, (begin, end) in corpus.info["ranges"].items():
        split = corpus.splits[name]
        assert split.sha256 == hashlib.sha256(TEXT[begin:end].encode()).hexdigest()
        assert split.counts.words == len(TEXT[begin:end].split())
        assert split.counts.line_ends == TEXT[begin:end].count("\n")
        assert isinstance(split.ids, np.memmap)
        assert split.ids.tolist() == corpus.tokenizer.encode(TEXT[begin:end]).tolist()
    assert corpus.info["sha256"] == hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize("tokenizer", ["char", "word", "bpe"])
def test_splits_are_the_same_text_for_every_tokenizer(tmp_path, tokenizer):
    path = write(tmp_path / "a.txt", TEXT)
    corpus = build_corpus(DataConfig(corpus=str(path), tokenizer=tokenizer, vocab_size=300))
    other = build_corpus(DataConfig(corpus=str(path)))
    for name, split in corpus.splits.items():
        assert split.sha256 == other.splits[name].sha256
        assert split.counts.chars == other.splits[name].counts.chars


@pytest.mark.parametrize(("valid", "test"), [(0.1, 0.0), (0.0, 0.1), (0.0, 0.0), (0.2, 0.7)])
def test_fractions_are_exact_and_a_share_of_zero_is_no_split(tmp_path, valid, test):
    text = "x" * 1000
    config = DataConfig(corpus=str(write(tmp_path / "a.txt", text)), valid_fraction=valid, test_fraction=test)
    found = {name: len(split) for name, split in build_corpus(config).splits.items()}
    expected = {"train": round(1000 * (1 - valid - test)), "valid": round(1000 * valid), "test": round(1000 * test)}
    assert found == {name: size for name, size in expected.items() if size}


def test_tiny_shakespeare_keeps_111540_characters_for_validation(data_dir):
    config = DataConfig(corpus=str(data_dir / "tinyshakespeare" / "input.txt"), test_fraction=0)
    corpus = build_corpus(config)
    assert {name: len(split) for name, split in corpus.splits.items()} == {"train": 1_003_854, "valid": 111_540}
    assert corpus.tokenizer.vocab_size == 65 + 2
    assert corpus.info["sha256"] == "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


@pytest.mark.parametrize(("split_at", "ends"), [("line", "\n"), ("space", (" ", "\n"))])
def test_a_cut_can_move_to_the_next_end_of_a_line_or_word(tmp_path, split_at, ends):
    corpus = build_corpus(DataConfig(corpus=str(write(tmp_path / "a.txt", TEXT)), split_at=split_at))
    found = texts(corpus)
    assert "".join(found.values()) == TEXT
    assert all(text.endswith(ends) for text in found.values())
    exact = [len(TEXT) * 8 // 10, len(TEXT) * 9 // 10]
    moved = [corpus.info["ranges"]["train"][1], corpus.info["ranges"]["valid"][1]]
    assert all(0 <= after - before < 25 for before, after in zip(exact, moved, strict=True))


@pytest.mark.parametrize(("find", "ends"), [(line_cut, "\n"), (space_cut, " \n")])
@given(st.lists(st.lists(st.text("a \n\x1c", min_size=1)), min_size=1), st.data())
def test_a_cut_is_the_first_end_of_a_line_word_or_document(find, ends, documents, data):
    text = "".join("".join(chunks) for chunks in documents)
    cut = data.draw(st.integers(0, len(text)))
    borders, place = {0, len(text)}, 0
    for chunks in documents:
        place += len("".join(chunks))
        borders.add(place)
    whole = borders | {at + 1 for at, character in enumerate(text) if character in ends}
    made = [Document(str(number), partial(iter, chunks)) for number, chunks in enumerate(documents)]
    assert find(made, cut) == min(border for border in whole if border >= cut)
    in_word = cut not in borders and not {*text[cut - 1 : cut + 1]} & {*" \n"}
    assert is_within_word(made, cut) == in_word or cut in (0, len(text))
    begin = data.draw(st.integers(0, cut))
    assert "".join(part for _, part in pieces(made, begin, cut)) == text[begin:cut]


@pytest.mark.parametrize("kind", ["char", "word"])
def test_the_vocabulary_comes_from_the_training_split_alone(tmp_path, kind):
    text = "a b\n" * 90 + "z\n" * 10 + "z y\n" * 10
    path = write(tmp_path / "a.txt", text)
    corpus = build_corpus(DataConfig(corpus=str(path), tokenizer=kind, valid_fraction=0.05, test_fraction=0.1))
    assert not {"z", "y"} & set(corpus.tokenizer.vocabulary)
    assert corpus.splits["train"].counts.oov == 0
    oov = sum(split.counts.oov for split in corpus.splits.values())
    assert oov == 30


def test_a_given_tokenizer_is_used_as_it_is(tmp_path):
    tokenizer = CharacterTokenizer.train(["line"])
    corpus = build_corpus(DataConfig(corpus=str(write(tmp_path / "a.txt", TEXT))), tokenizer=tokenizer)
    assert corpus.tokenizer is tokenizer
    assert corpus.splits["train"].counts.oov > 0


def test_a_tokenizer_file_is_used_and_cannot_be_resized(tmp_path):
    path = write(tmp_path / "a.txt", TEXT)
    file = tmp_path / "tokenizer.json"
    CharacterTokenizer.train(["line"]).save(file)
    corpus = build_corpus(DataConfig(corpus=str(path), tokenizer=str(file)))
    assert corpus.tokenizer.vocab_size == 6
    with pytest.raises(ConfigError, match="--vocab-size"):
        build_corpus(DataConfig(corpus=str(path), tokenizer=str(file), vocab_size=10))
    with pytest.raises(TokenizerError, match="no tokenizer file"):
        build_corpus(DataConfig(corpus=str(path), tokenizer="chars"))


def test_a_folder_of_files_has_a_document_for_each(tmp_path):
    for number in range(10):
        write(tmp_path / f"{number}.txt", f"text {number}" if number != 4 else "")
    corpus = build_corpus(DataConfig(corpus=str(tmp_path), valid_fraction=0.25, test_fraction=0))
    found = texts(corpus)
    assert found["train"] == "text 0<eos>text 1<eos>text 2<eos>text 3<eos>text 5<eos>text 6<eos>text<eos>"
    assert found["valid"].endswith("<eos>text 9<eos>".replace("9", "<unk>"))
    assert corpus.splits["train"].document_starts.tolist() == [0, 7, 14, 21, 28, 35, 42]


def test_a_folder_with_splits_is_taken_as_it_is(tmp_path):
    for name, text in {"train": "aab", "valid": "ba", "test": "c"}.items():
        write(tmp_path / f"{name}.txt", text)
    corpus = build_corpus(DataConfig(corpus=str(tmp_path), valid_fraction=0.5, test_fraction=0))
    assert texts(corpus) == {"train": "aab", "valid": "ba", "test": "<unk>"}
    assert set(corpus.info["sha256"]) == {"train", "valid", "test"}


def test_a_packed_file_and_standard_input_give_the_same_ids(tmp_path):
    plain = build_corpus(DataConfig(corpus=str(write(tmp_path / "a.txt", TEXT))))
    packed_path = tmp_path / "b.txt.gz"
    packed_path.write_bytes(gzip.compress(TEXT.encode()))
    packed = build_corpus(DataConfig(corpus=str(packed_path)))
    piped = build_corpus(DataConfig(corpus="-"), stdin=io.BytesIO(TEXT.encode()))
    assert texts(plain) == texts(packed) == texts(piped)
    assert plain.splits["train"].path == packed.splits["train"].path == piped.splits["train"].path


def test_the_default_corpus_needs_nothing():
    corpus = build_corpus(DataConfig())
    assert corpus.name == "pydoc"
    assert list(corpus.splits) == ["train", "valid", "test"]
    assert corpus.splits["train"].counts.documents == 1
    assert corpus.info["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize("documents", ["file", "line", "blank-line"])
def test_encoding_a_path_equals_encoding_its_text(tmp_path, documents):
    tokenizer = CharacterTokenizer.train([TEXT])
    path = write(tmp_path / "a.txt", TEXT)
    mapped = encode_path(tokenizer, path, documents=documents)
    held = encode_text(tokenizer, TEXT, documents=documents)
    assert mapped.ids.tolist() == held.ids.tolist()
    assert mapped.document_starts.tolist() == held.document_starts.tolist()
    assert mapped.counts == held.counts
    assert mapped.sha256 == held.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    piped = encode_path(tokenizer, "-", documents=documents, stdin=io.BytesIO(TEXT.encode()))
    assert piped.counts == held.counts


def test_encoding_a_folder_takes_all_its_files(tmp_path):
    write(tmp_path / "train.txt", "ab")
    write(tmp_path / "test.txt", "ba")
    tokenizer = CharacterTokenizer.train(["ab"])
    assert tokenizer.decode(encode_path(tokenizer, tmp_path).ids) == "ab<eos>ba<eos>"


def test_progress_names_the_stages_and_ends_at_one(tmp_path):
    seen: dict[str, float] = {}
    build_corpus(DataConfig(corpus=str(write(tmp_path / "a.txt", "seen" * 99))), progress=seen.__setitem__)
    known = {"reading": 1.0, "training the tokenizer": 1.0, "encoding": 1.0}
    assert seen == {**known, "building the vocabulary": math.nan}


def test_progress_never_goes_back(tmp_path):
    for name in ("train", "valid", "test"):
        write(tmp_path / f"{name}.txt", f"progress of {name}" * 9)
    told: dict[str, list[float]] = {}
    build_corpus(
        DataConfig(corpus=str(tmp_path)), progress=lambda stage, share: told.setdefault(stage, []).append(share)
    )
    assert len(told.pop("building the vocabulary")) == 1
    assert all(shares == sorted(shares) and shares[-1] == 1 for shares in told.values())
    assert len(told["encoding"]) == 3


def test_no_word_reaches_over_two_documents(tmp_path):
    for number, text in enumerate(["one", "two", "three\n", "one"]):
        write(tmp_path / f"{number}.txt", text)
    config = DataConfig(corpus=str(tmp_path), tokenizer="word", valid_fraction=0, test_fraction=0)
    corpus = build_corpus(config)
    assert corpus.tokenizer.vocabulary == ["<unk>", "<eos>", "one", "three", "two"]
    assert texts(corpus) == {"train": "one\ntwo\nthree\none\n"}


def test_an_empty_text_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"^File empty.txt is empty: give a text"):
        build_corpus(DataConfig(corpus=str(write(tmp_path / "empty.txt", ""))))
    write(tmp_path / "train.txt", "a")
    write(tmp_path / "valid.txt", "")
    with pytest.raises(DataError, match=r"The valid file of .* is empty"):
        build_corpus(DataConfig(corpus=str(tmp_path)))
    with pytest.raises(DataError, match="is empty"):
        encode_text(CharacterTokenizer.train(["a"]), "")
    with pytest.raises(DataError, match="Standard input is empty"):
        build_corpus(DataConfig(corpus="-"), stdin=io.BytesIO())


def test_a_split_that_comes_out_empty_is_refused_with_numbers(tmp_path):
    with pytest.raises(DataError, match=r"valid split is empty: its share of 7 characters is 0.1"):
        build_corpus(DataConfig(corpus=str(write(tmp_path / "a.txt", "seven c")), test_fraction=0.3))


@given(
    st.lists(st.sampled_from(["<unk>", "<un", "k>", "a", " ", "\n", "\t", "\u3000", "\x1c", "<unk> "])),
    st.integers(1, 4),
)
def test_the_unknown_words_that_a_text_holds_itself_are_counted_whatever_its_chunks(parts, size):
    text = "".join(parts)
    meter = TextMeter("<unk>")
    chunks = (Chunk.of(text[begin : begin + size]) for begin in range(0, len(text), size))
    assert "".join(chunk.text for chunk in meter.watch(chunks)) == text
    assert meter.written == split_words(text).count("<unk>")


def test_a_word_does_not_reach_over_two_documents():
    meter = TextMeter("<unk>")
    for document in ("a <un", "k> <unk>", "<unk>"):
        list(meter.watch([Chunk.of(document)]))
    assert meter.written == 2


def test_written_unknown_words_are_told_from_those_that_the_vocabulary_lacks():
    text = "a b <unk> c <unk>\n<unk> d x<unk>\n"
    for documents in ("file", "line", EACH_LINE):
        counts = encode_text(WordTokenizer.train(["a b c\n"]), text, documents=documents).counts
        assert (counts.oov, counts.oov_written, counts.unknown) == (5, 3, 2)
    counts = encode_text(CharacterTokenizer.train(["<abc> unk\n"]), text).counts
    assert (counts.oov, counts.oov_written, counts.unknown) == (2, 0, 2)  # d and x: <unk> is five characters


def test_a_text_of_whitespace_has_no_words(tmp_path):
    with pytest.raises(DataError, match="has no tokens"):
        build_corpus(DataConfig(corpus=str(write(tmp_path / "a.txt", " " * 50)), tokenizer="word"))


def test_counts_add_up_from_zero():
    one = Counts(words=1, line_ends=2, chars=3, bytes=4, oov=5, tokens=6, documents=7, oov_written=3)
    assert one + one == Counts(2, 4, 6, 8, 10, 12, 14, 6)
    assert one.unknown == 2
    assert sum([one, one], Counts.zero) == one + one


def test_text_needs_neither_torch_nor_the_hugging_face_libraries_to_be_imported():
    import subprocess

    heavy = ["torch", "click", "rich", "datasets", "tokenizers"]
    code = f"import sys, lmkit.text; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def simple_tokens(tokenizer, documents: list[str]) -> tuple[list[int], list[int]]:
    """Ids and document starts as the manual says it: each of several documents is closed, unless it ends in <eos>."""
    ids: list[int] = []
    starts = []
    for text in documents:
        starts.append(len(ids))
        ids += tokenizer.encode(text).tolist()
        if len(documents) > 1 and (len(ids) == starts[-1] or ids[-1] != tokenizer.eos_id):
            ids.append(tokenizer.eos_id)
    return ids, starts


@pytest.mark.parametrize("kind", ["char", "word"])
@given(
    texts=st.lists(st.lists(st.text("aé \n\u3000😀<unk>"), min_size=1).filter(any), min_size=1, max_size=4),
    rule=st.sampled_from(["file", "line"]),
)
def test_a_token_file_is_what_the_simple_way_writes(kind, texts, rule):
    tokenizer = TOKENIZERS[kind].train(["aé \n", "a"])
    wholes = ["".join(chunks) for chunks in texts]
    ids_file, starts_file = io.BytesIO(), io.BytesIO()
    pieces = [(number, Chunk.of(chunk)) for number, chunks in enumerate(texts) for chunk in chunks]
    counts, sha256 = write_tokens(tokenizer, pieces, rule, ids_file, starts_file)
    documents = wholes if rule == "file" else [line for text in wholes for line in lines_of(text)]
    ids, starts = simple_tokens(tokenizer, documents)
    assert np.frombuffer(ids_file.getvalue(), tokenizer.id_dtype).tolist() == ids
    assert np.frombuffer(starts_file.getvalue(), np.int64).tolist() == starts
    assert sha256 == hashlib.sha256("".join(wholes).encode()).hexdigest()
    assert (counts.tokens, counts.documents, counts.oov) == (len(ids), len(starts), ids.count(0))
    assert counts.words == sum(len(split_words(text)) for text in wholes)
    assert counts.chars == len("".join(wholes)) and counts.bytes == len("".join(wholes).encode())
    assert counts.line_ends == "".join(wholes).count("\n")


def lines_of(text: str) -> list[str]:
    return [line for line in re.split(r"(?<=\n)", text) if line]


def test_a_split_that_begins_in_a_word_is_named_where_tokens_are_words(tmp_path):
    path = str(write(tmp_path / "a.txt", "abcdefghi " * 100 + "abcde"))
    notes = {
        (tokenizer, split_at): build_corpus(DataConfig(corpus=path, tokenizer=tokenizer, split_at=split_at)).notes
        for tokenizer in ("char", "word")
        for split_at in ("char", "space")
    }
    assert notes.pop(("word", "char")) == (CUT_WORD,)
    assert set(notes.values()) == {()}


def test_a_text_of_one_line_cannot_be_cut_at_lines(tmp_path):
    path = str(write(tmp_path / "a.txt", "a word " * 100))
    with pytest.raises(DataError, match="no line to give it: use --split-at space"):
        build_corpus(DataConfig(corpus=path, split_at="line"))
