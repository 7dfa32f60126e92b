"""ARPA files: what is written is read back, back-off is what the format says, and no bad file gets through."""

import contextlib
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import ConfigError, DataError
from lmkit.evaluation.ngram.arpa import read_arpa, write_arpa
from lmkit.evaluation.ngram.ngram import NgramModel
from lmkit.evaluation.perplexity import evaluate
from lmkit.samplers import stream_windows
from lmkit.text.tokenizers.bpe import BPETokenizer
from lmkit.text.tokenizers.character import CharacterTokenizer
from lmkit.text.tokenizers.word import WordTokenizer

TEXT = "a b a c\nb a b\n\na <unk> b c\na b a\n" * 3 + "c c\ta\n"
WORDS = WordTokenizer(["<unk>", "<eos>", "a", "b"])
UNK, EOS, A, B = range(4)

# As other tools write it: <s> is only a context, </s> is only predicted, the highest order has no weights.
SENTENCES = r"""
made by hand

\data\
ngram 1=5
ngram 2=4
ngram 3=1

\1-grams:
-99	<s>	-0.5
-0.6	</s>
-1.0	<unk>	0
-0.4	a	-0.25
-0.7	b	-0.125

\2-grams:
-0.2	<s> a	-0.0625
-0.3	a b
-0.8	b </s>
-0.9	a </s>

\3-grams:
-0.1	<s> a b

\end\
"""


@pytest.fixture
def arpa(tmp_path):
    def write(text):
        path = tmp_path / "model.arpa"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def log10_probability(model, context, word):
    return model.log_probs(np.array([context]), np.array([word]))[0] / math.log(10)


@pytest.mark.parametrize(
    ("context", "word", "expected"),
    [
        ([], A, -0.4),
        ([], EOS, -0.6),
        ([EOS], A, -0.2),
        ([EOS], B, -0.5 - 0.7),  # <s> b is not there
        ([A], B, -0.3),
        ([EOS, A], B, -0.1),
        ([EOS, A], EOS, -0.0625 - 0.9),
        ([EOS, A], UNK, -0.0625 - 0.25 - 1.0),
        ([B, A], B, -0.3),  # b a is not there, so it weighs nothing
        ([A, B], EOS, -0.8),
        ([A, B], A, -0.125 - 0.4),  # a b has no weight
        ([A, EOS], A, -0.2),  # over a line end, where the file has no n-gram
        ([B, EOS], EOS, -0.5 - 0.6),
        ([UNK], A, -0.4),
    ],
)
def test_back_off_is_that_of_the_format(arpa, context, word, expected):
    model = read_arpa(arpa(SENTENCES), WORDS)
    assert model.order == 3
    assert model.num_ngrams == (4, 4, 1)
    assert log10_probability(model, [-1, -1, *context], word) == pytest.approx(expected, rel=1e-12)
    if context:
        distribution, _ = model.distribution(torch.tensor([context]), model.initial_state(1))
        assert float(distribution[0, -1, word]) == pytest.approx(expected * math.log(10), rel=1e-12)


def test_a_sentence_by_hand(arpa):
    found = evaluate(read_arpa(arpa(SENTENCES), WORDS), stream_windows(WORDS.encode("a b\nb\n"), eos_id=EOS, window=2))
    log10 = [-0.2, -0.1, -0.8, -0.5 - 0.7, -0.8]
    assert found.nll == pytest.approx(-math.log(10) * sum(log10), rel=1e-12)


@pytest.mark.parametrize("nothing", ["-inf", "-1e308"])
def test_a_probability_may_be_zero(arpa, nothing):
    model = read_arpa(arpa(SENTENCES.replace("-0.3\ta b", f"{nothing}\ta b")), WORDS)
    assert log10_probability(model, [-1, A], B) == -math.inf


def test_line_ends_and_spaces_may_be_any(arpa):
    expected = read_arpa(arpa(SENTENCES), WORDS)
    other = SENTENCES.replace("\t", "  ").replace("=", " = ").replace("\n", " \r\n")
    assert log10_probability(read_arpa(arpa(other), WORDS), [EOS, A], B) == log10_probability(expected, [EOS, A], B)


def train(tokenizer, order, text=TEXT):
    return NgramModel.train(
        tokenizer.encode(text), vocab_size=tokenizer.vocab_size, order=order, eos_id=tokenizer.eos_id
    )


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("kind", [WordTokenizer, CharacterTokenizer, BPETokenizer])
def test_what_is_written_is_read_back(tmp_path, kind, order):
    tokenizer = kind.train([TEXT], vocab_size=262)
    model = train(tokenizer, order)
    write_arpa(model, tokenizer, tmp_path / "model.arpa")
    found = read_arpa(tmp_path / "model.arpa", tokenizer)
    assert found.num_ngrams == model.num_ngrams
    tokens = torch.randint(tokenizer.vocab_size, (3, 20))
    tokens[0] = torch.from_numpy(tokenizer.encode(TEXT)[:20].astype(np.int64))
    expected, _ = model.distribution(tokens, model.initial_state(3))
    log_probs, _ = found.distribution(tokens, found.initial_state(3))
    torch.testing.assert_close(log_probs, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3, 20).double(), rtol=0, atol=1e-8)


def test_a_written_file_reads_like_this(tmp_path):
    """The worked example of test_ngram; log10 of 1/6, 1/2, 1/3 and of 1/2 and 2/3."""
    tokenizer = WordTokenizer(["<unk>", "<eos>", "a"])
    model = NgramModel.train(np.array([2, 0, 2]), vocab_size=3, order=2, eos_id=1)
    write_arpa(model, tokenizer, tmp_path / "model.arpa")
    lines = (tmp_path / "model.arpa").read_text().splitlines()
    assert lines[:6] == ["\\data\\", "ngram 1=5", "ngram 2=3", "", "\\1-grams:", "-99\t<s>"]
    assert lines[6] == "-99\t</s>"
    assert lines[7] == "-0.4771212547\t<unk>\t-0.3010299957"
    assert lines[-5:] == [*lines[-5:-3], "-0.1760912591\ta <unk>", "", "\\end\\"]
    assert [path.name for path in tmp_path.iterdir()] == ["model.arpa"]


def test_white_space_in_tokens_is_escaped(tmp_path):
    tokenizer = CharacterTokenizer.train(["a \t\n\r\v\f\0\x1c\xa0"])
    write_arpa(train(tokenizer, 2, "a b\n" * 5), tokenizer, tmp_path / "model.arpa")
    words = {line.split("\t")[1] for line in (tmp_path / "model.arpa").read_text().split("\n") if "\t" in line}
    assert {
        "<char:20>",
        "<char:09>",
        "<char:0A>",
        "<char:0D>",
        "<char:0B>",
        "<char:0C>",
        "<char:00>",
        "\x1c",
        "\xa0",
    } <= words


def test_a_model_is_not_written_with_another_tokenizer(tmp_path):
    with pytest.raises(ConfigError, match="4 tokens and the tokenizer 3"):
        write_arpa(train(WORDS, 2), WordTokenizer(["<unk>", "<eos>", "a"]), tmp_path / "model.arpa")
    assert not list(tmp_path.iterdir())


def test_marks_are_left_out_where_the_file_has_the_end_token(arpa):
    text = SENTENCES.replace("ngram 1=5", "ngram 1=6").replace("-0.4\ta", "-0.9\t<eos>\t-0.75\n-0.4\ta")
    model = read_arpa(arpa(text), WORDS)
    assert model.num_ngrams == (4, 1, 0)
    assert log10_probability(model, [EOS], A) == pytest.approx(-0.75 - 0.4)


def test_unknown_words_are_left_out_where_the_tokenizer_has_none(arpa):
    tokenizer = BPETokenizer.train(["a"], vocab_size=257)
    names = "".join(f"-2.6\t{token}\n" for token in tokenizer.vocabulary[1:])
    text = "\\data\\\nngram 1=258\n\\1-grams:\n-1\t<unk>\n-1\t</s>\n" + names + "\\end\\\n"
    assert read_arpa(arpa(text), tokenizer).num_ngrams == (257,)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("-0.7\tb\t-0.125\n", "", "1 of the 4 tokens are missing (b)"),
        ("-1.0\t<unk>\t0\n", "", "1 of the 4 tokens are missing (<unk>)"),
        ("-0.6\t</s>\n", "", "1 of the 4 tokens are missing (<eos>)"),
        ("-0.7\tb\t-0.125\n", "-0.7\tbee\t-0.125\n", "are missing (b) and 1 of its words are not tokens (bee)"),
        ("-0.7\tb\t-0.125\n", "-0.7\t\xff\n-3\tB\n-3\tC\n-3\tD\n", "4 of its words are not tokens (ÿ, B, C, ...)"),
    ],
)
def test_another_vocabulary_is_refused(arpa, old, new, said):
    count = 5 + new.count("\n") - old.count("\n")
    text = SENTENCES.replace(old, new).replace("ngram 1=5", f"ngram 1={count}")
    with pytest.raises(ConfigError, match="does not fit the tokenizer") as caught:
        read_arpa(arpa(text), WORDS)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("\\data\\\n", "", 24, "no line says"),
        ("ngram 2=4", "ngram 3=4", 6, "how many 2-grams"),
        ("ngram 2=4", "ngram 2=four", 6, "how many 2-grams"),
        ("ngram 2=4", "ngram 2=-4", 6, "how many 2-grams"),
        ("ngram 2=4", "ngram 2=" + "9" * 5000, 6, "how many 2-grams"),
        ("ngram 1=5\nngram 2=4\nngram 3=1\n", "", 6, "stands where 'ngram 1='"),
        ("\\2-grams:", "\\3-grams:", 16, "'\\3-grams:' stands where '\\2-grams:' should"),
        ("\\2-grams:", "2-grams:", 16, "no 1-gram"),
        ("-0.7\tb\t-0.125", "-0.7\tb\t-0.125\t9", 14, "no 1-gram"),
        ("-0.7\tb\t-0.125", "-0.7", 14, "no 1-gram"),
        ("-0.3\ta b", "-0.3\ta", 18, "no 2-gram"),
        ("-0.3\ta b", "x\ta b", 18, "does not hold numbers"),
        ("-0.3\ta b", "-0.3\ta b\tc", 18, "does not hold numbers"),
        ("-0.3\ta b", "nan\ta b", 18, "must be 0 or less"),
        ("-0.3\ta b", "0.3\ta b", 18, "must be 0 or less"),
        ("-0.3\ta b", "-0.3\ta b\tinf", 18, "must be 0 or less"),
        ("-0.3\ta b", "-0.3\ta b\tnan", 18, "must be 0 or less"),
        ("-0.3\ta b", "-0.3\ta b\t-1e308", 18, "must be 0 or less"),
        ("-0.3\ta b", "-0.3\ta bee", 18, "'bee' is not among the 1-grams"),
        ("-0.3\ta b", "-0.3\tb </s>", 19, "listed twice"),
        ("-0.7\tb", "-0.7\ta", 14, "listed twice"),
        ("<s> a b", "<s> b b", 23, "first 2 words of this 3-gram are not among the 2-grams"),
        ("ngram 2=4", "ngram 2=5", 22, "declares 5 2-grams, but there are 4"),
        ("ngram 2=4", "ngram 2=999999999999999", 22, "declares 999,999,999,999,999 2-grams, but there are 4"),
        ("ngram 2=4", "ngram 2=3", 20, "more 2-grams than the 3"),
        ("\\end\\", "", 25, "cut off"),
        ("-0.4\ta", "-0.04\ta", 16, "sum to 1.4"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(arpa, old, new, line, said):
    assert old in SENTENCES
    path = arpa(SENTENCES.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        read_arpa(path, WORDS)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("length", range(0, len(SENTENCES) - 6, 7))
def test_a_file_that_was_cut_off_is_refused(arpa, length):
    with pytest.raises((DataError, ConfigError)):
        read_arpa(arpa(SENTENCES[:length]), WORDS)


@given(
    place=st.integers(0, len(SENTENCES)),
    length=st.integers(0, 40),
    piece=st.sampled_from(
        [b"", b"\\", b"\n", b"\t", b"-", b"9", b"1e999", b"a", b"<s>", b"</s>", b"\0", b"\xff", b"\\end\\\n"]
    ),
)
def test_a_damaged_file_gives_a_model_or_a_clear_error(tmp_path_factory, place, length, piece):
    path = tmp_path_factory.getbasetemp() / "damaged.arpa"
    content = SENTENCES.encode()
    path.write_bytes(content[:place] + piece + content[place + length :])
    with contextlib.suppress(DataError, ConfigError):
        model = read_arpa(path, WORDS)
        log_probs, _ = model.distribution(torch.tensor([[EOS, A, B]]), model.initial_state(1))
        assert not log_probs.isnan().any()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1: this is not an ARPA file"),
        (b"\x00\xff\xfe" * 100, "line 1: this is not an ARPA file"),
        (b"\x1f\x8b\x08\x00", "line 1: the file is compressed"),
        (b"x" * (1 << 21), "line 1: the line is longer than 1,048,576 bytes"),
        (b"\\data\\\n", "line 1: the file ends before"),
        (
            b"\\data\\\n" + b"".join(b"ngram %d=1\n" % order for order in range(1, 99)),
            "line 18: n-grams longer than 16",
        ),
        (b"\\data\\\nngram 1=0\n\\1-grams:\n\\end\\\n", "4 of the 4 tokens are missing (<unk>, <eos>, a, ...)"),
    ],
)
def test_what_is_no_model_is_refused(arpa, content, said):
    with pytest.raises((DataError, ConfigError)) as caught:
        read_arpa(arpa(content), WORDS)
    assert said in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match="There is no ARPA file"):
        read_arpa(tmp_path / "nowhere.arpa", WORDS)
    with pytest.raises(DataError, match="cannot be read"):
        read_arpa(tmp_path, WORDS)


def test_memory_is_not_that_of_the_declared_counts(arpa):
    path = arpa("\\data\\\nngram 1=900000000000\nngram 2=900000000000\n\\1-grams:\n-1\ta\n\\end\\\n")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="declares 900,000,000,000 1-grams, but there are 1"):
            read_arpa(path, WORDS)
        assert tracemalloc.get_traced_memory()[1] < 1 << 21
    finally:
        tracemalloc.stop()
