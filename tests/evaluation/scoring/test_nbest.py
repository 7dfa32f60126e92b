"""N-best lists: read with their mistakes named, scored as lines, sorted within each id."""

from __future__ import annotations

import pytest

from lmkit.errors import DataError
from lmkit.evaluation.predictor import NetworkPredictor
from lmkit.evaluation.scoring.lines import ScoredLine, scored_lines
from lmkit.evaluation.scoring.nbest import Hypothesis, read_nbest, reorder, rescore
from lmkit.evaluation.scoring.scoring import score_text
from lmkit.text import TOKENIZERS

TRAINING = "the cat sat on the mat .\n" * 20


def lines_with(*log_probs):
    return [ScoredLine(number, 0, 0, 1, 2, 0, value) for number, value in enumerate(log_probs, 1)]


def read(text):
    return read_nbest([text], "list.txt")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("7\t-2.5\tthe cat", ("7", -2.5, "the cat")),
        ("7 ||| -2.5 ||| the cat", ("7", -2.5, "the cat")),
        ("7|||-2.5|||the cat", ("7", -2.5, "the cat")),
        ("utt-1\t1e3\ta\tb ||| c", ("utt-1", 1000.0, "a\tb ||| c")),
        ("7 ||| 0 ||| a\tb ||| c", ("7", 0.0, "a\tb ||| c")),
        ("7\t-inf\ta", ("7", float("-inf"), "a")),
        ("7\t-2.5\t", ("7", -2.5, "")),
        ("7\t-2.5", ("7", -2.5, "")),
        ("7 ||| -2.5 |||", ("7", -2.5, "")),
        ("7\t-2.5\tthe cat\r", ("7", -2.5, "the cat")),
        ("7\t-2.5\t \u2028é\0", ("7", -2.5, " \u2028é\0")),
    ],
    ids=ascii,
)
def test_a_line_is_an_id_a_score_and_a_text(line, expected):
    assert read(line + "\n") == read(line) == [Hypothesis(*expected)]


def test_a_list_comes_in_chunks_and_blank_lines_are_skipped():
    text = "1\t-1\ta\n\n1\t-2\tb\n  \n2\t0\tc"
    assert read_nbest(list(text), "list.txt") == read(text)
    assert [entry.text for entry in read(text)] == ["a", "b", "c"]


@pytest.mark.parametrize("score", ["x", "", "nan", "1,5", "1_000", "the cat", "0x10", "--1"])
@pytest.mark.parametrize("form", ["1\t-1\tgood\n1\t{}\tbad\n", "1 ||| -1 ||| good\n1 ||| {} ||| bad\n"])
def test_a_score_that_is_not_a_number_is_refused_with_its_line(score, form):
    with pytest.raises(DataError, match=r"list\.txt, line 2: the score .* is not a number"):
        read(form.format(score))


def test_a_line_without_fields_is_refused_with_its_line():
    with pytest.raises(DataError, match=r"list\.txt, line 3: expected id, score and text"):
        read("1\t-1\ta\n\njust words\n")


@pytest.mark.parametrize("text", ["", "\n", " \n\n"], ids=ascii)
def test_an_empty_list_is_refused(text):
    with pytest.raises(DataError, match="empty"):
        read(text)


def test_each_id_is_sorted_by_itself_and_the_weight_counts():
    hypotheses = read("b\t-1\tone\nb\t-2\ttwo\na\t-5\tthree\na\t-4\tfour\n")
    order = [entry.hypothesis.text for entry in reorder(hypotheses, lines_with(-10, -8, -1, -9), 1.0)]
    assert order == ["two", "one", "three", "four"]
    order = [entry.hypothesis.text for entry in reorder(hypotheses, lines_with(-10, -8, -1, -9), 0.1)]
    assert order == ["one", "two", "four", "three"]
    totals = [entry.total for entry in reorder(hypotheses, lines_with(-10, -8, -1, -9), 0.5)]
    assert totals == [-6, -6, -5.5, -8.5]


def test_equal_hypotheses_keep_their_order():
    hypotheses = read("".join(f"1\t-1\t{number}\n" for number in range(9)))
    assert [entry.hypothesis for entry in reorder(hypotheses, lines_with(*[-3.0] * 9), 1.0)] == hypotheses


def test_the_lines_of_an_id_need_not_stand_together():
    hypotheses = read("a\t-3\t1\nb\t-1\t2\na\t-2\t3\n")
    found = reorder(hypotheses, lines_with(0, 0, 0), 1.0)
    assert [(entry.hypothesis.id, entry.hypothesis.text) for entry in found] == [("a", "3"), ("a", "1"), ("b", "2")]


def test_a_weight_of_zero_leaves_the_scores_alone():
    hypotheses = read("1\t-1\ta\n1\t-2\tb\n")
    assert [entry.total for entry in reorder(hypotheses, lines_with(float("-inf"), -1), 0.0)] == [-1, -2]


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
def test_a_text_is_scored_as_a_line_by_itself(make_model, kind):
    tokenizer = TOKENIZERS[kind].train([TRAINING], vocab_size=280 if kind == "bpe" else None)
    predictor = NetworkPredictor(make_model("gru", vocab_size=tokenizer.vocab_size))
    texts = ["the cat", "", "the mat sat é", "the cat", " on\r"]
    hypotheses = [Hypothesis("1", float(-number), text) for number, text in enumerate(texts)]
    found = {entry.hypothesis.score: entry for entry in rescore(predictor, tokenizer, hypotheses, 2.0)}
    for hypothesis in hypotheses:
        blocks = score_text(predictor, tokenizer, [[hypothesis.text + "\n"]], state="line")
        (line,) = scored_lines(blocks, tokenizer)
        entry = found[hypothesis.score]
        assert entry.log_prob == pytest.approx(line.log_prob, abs=1e-5)
        assert entry.total == pytest.approx(hypothesis.score + 2 * line.log_prob, abs=1e-4)
        assert entry.tokens == line.tokens


def test_the_empty_hypothesis_is_the_line_end_alone(make_model):
    tokenizer = TOKENIZERS["word"].train([TRAINING])
    predictor = NetworkPredictor(make_model("gru", vocab_size=tokenizer.vocab_size))
    (entry,) = rescore(predictor, tokenizer, [Hypothesis("1", 0.0, "")], 1.0)
    assert entry.tokens == 1
    assert entry.log_prob < 0
