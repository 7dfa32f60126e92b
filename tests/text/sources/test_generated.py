"""Generated texts: their stated entropy is the truth."""

import math
from collections import Counter
from itertools import pairwise, product

import pytest

from lmkit.text.sources.generated import GENERATORS, Brackets, Copy, Counting, Markov, known_entropy
from lmkit.text.sources.opening import open_source

NAMES = sorted(GENERATORS)


@pytest.mark.parametrize("name", NAMES)
def test_the_nll_of_a_long_text_approaches_the_entropy_rate(name):
    generator = GENERATORS[name]
    length = 200_000
    text = generator.sample(length, seed=7)
    assert generator.nll(text) / length == pytest.approx(generator.entropy_rate, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_gives_one_text_and_another_seed_another(name):
    generator = GENERATORS[name]
    assert generator.sample(500) == generator.sample(500) == "".join(generator.chunks(500))
    assert generator.sample(1000).startswith(generator.sample(500))
    assert generator.sample(500, seed=1) != generator.sample(500)


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_is_the_text_with_seed_zero(name):
    setting = f"{GENERATORS[name].setting}:" if GENERATORS[name].takes else ""
    with open_source(f"{name}:{setting}70000") as source:
        assert "".join(source.parts["text"][0].chunks()) == GENERATORS[name].sample(70_000)
        assert source.info["entropy_rate_nats_per_char"] == GENERATORS[name].entropy_rate


@pytest.mark.parametrize(("name", "alphabet", "length"), [("markov", "\n abcdef", 4), ("brackets", "([{<)]}>\n", 4)])
def test_the_odds_of_all_texts_of_one_length_sum_to_one(name, alphabet, length):
    generator = GENERATORS[name]
    total = sum(math.exp(-generator.nll("".join(text))) for text in product(alphabet, repeat=length))
    assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("markov", "abz"), ("brackets", "(]"), ("brackets", "\n"), ("copy", "abcdefgh=x")),
        *(("recall", "a" + "." * 20 + "?b"), ("recall", "a" + "." * 19 + "?"), ("alphabet", "abd"), ("anbn", "aab\n")),
        *(("anbn", "a" * 13), ("anbn", "aabbb"), ("agreement", "born in france speaks s"), ("grammar", "the near")),
    ],
)
def test_a_text_that_cannot_be_written_is_infinitely_surprising(name, text):
    assert GENERATORS[name].nll(text) == math.inf


def test_every_prefix_of_a_text_can_be_written():
    for name in NAMES:
        text = GENERATORS[name].sample(60)
        values = [GENERATORS[name].nll(text[:end]) for end in range(len(text) + 1)]
        assert values[0] == 0
        assert all(later >= earlier - 1e-12 for earlier, later in pairwise(values))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_nats_of_a_text_do_not_depend_on_how_it_comes(name, size):
    generator = GENERATORS[name]
    text = generator.sample(40)
    chunks = ["", *(text[begin : begin + size] for begin in range(0, len(text), size)), ""]
    assert sum(generator.surprisals(chunks)) == pytest.approx(generator.nll(text), rel=1e-12)


class TinyMarkov(Markov):
    alphabet = "ab"


class TinyBrackets(Brackets):
    opening, closing, depth = "(", ")", 2


class TinyCopy(Copy):
    letters, width = "ab", 2


TINY = [(TinyMarkov(), "ab"), (TinyBrackets(), "()\n"), (TinyCopy(), "ab=\n"), (Counting(1, 2), "ab\n")]
KINDS = ["markov", "brackets", "copy", "anbn"]


@pytest.mark.parametrize(("generator", "alphabet"), TINY, ids=KINDS)
def test_a_text_has_the_odds_of_all_its_continuations_together(generator, alphabet):
    def odds(text: str, more: int) -> float:
        return sum(math.exp(-generator.nll(text + "".join(rest))) for rest in product(alphabet, repeat=more))

    assert odds("", 6) == pytest.approx(1.0)
    text = generator.sample(3)
    assert odds(text, 3) == pytest.approx(math.exp(-generator.nll(text)))


@pytest.mark.parametrize(("generator", "alphabet"), TINY, ids=KINDS)
def test_texts_come_as_often_as_their_odds_say(generator, alphabet):
    number = 2000
    found = Counter(generator.sample(4, seed) for seed in range(number))
    for text in map("".join, product(alphabet, repeat=4)):
        odds = math.exp(-generator.nll(text))
        assert abs(found[text] / number - odds) <= 5 * math.sqrt(odds / number), text


@pytest.mark.parametrize(("generator", "alphabet"), TINY, ids=KINDS)
@pytest.mark.parametrize(("begin", "end"), [(0, 3), (2, 5), (1, 6), (4, 4)])
def test_the_nats_of_a_split_are_those_of_all_texts_that_go_on_so(generator, alphabet, begin, end, monkeypatch):
    def odds(text: str) -> float:
        rest = product(alphabet, repeat=6 - len(text))
        return sum(math.exp(-generator.nll(text + "".join(more))) for more in rest)

    text = generator.sample(end)
    expected = math.log(odds(text[:begin])) - math.log(odds(text))
    for chunk in (1, 2, 100):
        monkeypatch.setattr("lmkit.text.sources.generated.generator.CHUNK", chunk)
        assert generator.nll_between(begin, end) == pytest.approx(expected, abs=1e-9)


def test_the_entropy_of_a_corpus_is_known_where_it_was_generated():
    text = GENERATORS["copy"].sample(90)
    found = known_entropy("copy:90", 40, 90)
    assert found is not None
    assert found.nll == pytest.approx(GENERATORS["copy"].nll(text) - GENERATORS["copy"].nll(text[:40]))
    assert found.rate == GENERATORS["copy"].entropy_rate
    assert known_entropy("pydoc", 0, 10) is None


def test_the_chain_is_stationary():
    chain = Markov()
    assert (chain.pairs.sum(axis=0) - chain.pairs.sum(axis=1)).__abs__().max() < 1e-12
    assert 0.5 < chain.entropy_rate < math.log(len(chain.alphabet)) - 0.3


def test_brackets_are_balanced_and_not_too_deep():
    for line in Brackets().sample(20_000).split("\n")[:-1]:
        depth = 0
        for character in line:
            depth += 1 if character in Brackets.opening else -1
            assert 0 <= depth <= Brackets.depth
        assert depth == 0
        assert line


def test_copies_are_copies():
    for line in Copy().sample(1800).splitlines():
        word, copy = line.split("=")
        assert word == copy
        assert len(word) == 8
