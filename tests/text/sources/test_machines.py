"""Machines that write pieces, and the questions that their texts put to a model."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmkit.errors import DataError
from lmkit.text.sources.generated import (
    GENERATORS,
    Agreement,
    Alphabet,
    Counting,
    Grammar,
    Machine,
    Recall,
    known_entropy,
)
from lmkit.text.sources.generated.agreement import FILLERS, LANGUAGES
from lmkit.text.sources.generated.grammar import RULES, WORDS
from lmkit.text.sources.opening import open_source

MACHINES = {name: generator for name, generator in GENERATORS.items() if isinstance(generator, Machine)}


def line_worth(machine: Machine, state: Hashable) -> tuple[float, float]:
    """Entropy in nats and mean length of what is still to be written in a line, from its end backwards."""

    @functools.cache
    def worth(state: Hashable) -> tuple[float, float]:
        nats = length = 0.0
        for text, odds, after in machine.pieces(state):
            more = (0.0, 0.0) if after == machine.start else worth(after)
            nats += odds * (more[0] - math.log(odds))
            length += odds * (more[1] + len(text))
        return nats, length

    return worth(state)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_the_entropy_rate_is_that_of_a_line_over_its_mean_length(machine):
    nats, length = line_worth(machine, machine.start)
    assert machine.entropy_rate == pytest.approx(nats / length, rel=1e-12)


@pytest.mark.parametrize(
    ("machine", "rate"),
    [
        (Recall(50), math.log(8) / 54),
        (Alphabet("forward"), 0.0),
        (Alphabet("both"), math.log(2) / 27),
        (Alphabet("from-letter"), math.log(26) / 14.5),
        (Counting(3, 10), math.log(8) / (13 + 1)),
        (Counting(7, 7), 0.0),
    ],
    ids=str,
)
def test_the_entropy_rate_is_what_a_line_leaves_free(machine, rate):
    assert machine.entropy_rate == pytest.approx(rate, rel=1e-12, abs=1e-15)


def test_the_entropy_of_agreement_is_that_of_country_number_and_words():
    free = math.log(6) + math.log(5) + 2 * math.log(8)
    names = sum(len(country) + len(language) for country, language in LANGUAGES.items()) / 6
    length = len("born in  speaks \n") + names + 2 * sum(len(word) + 1 for word in FILLERS) / 8
    assert Agreement(4).entropy_rate == pytest.approx(free / length, rel=1e-12)


@pytest.mark.parametrize("name", MACHINES)
def test_after_any_beginning_the_odds_of_the_next_character_sum_to_one(name):
    machine = MACHINES[name]
    text = machine.sample(120, seed=3)
    for end in range(0, len(text), 7):
        before = machine.nll(text[:end])
        after = [machine.nll(text[:end] + character) for character in "abcdefghijklmnopqrstuvwxyz .?\n"]
        assert sum(math.exp(before - nll) for nll in after) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("name", MACHINES)
def test_no_piece_of_a_state_begins_with_another(name):
    machine = MACHINES[name]
    seen: set[Hashable] = set()
    waiting = [machine.start]
    while waiting:
        state = waiting.pop()
        pieces = list(machine.pieces(state))
        texts = [piece.text for piece in pieces]
        assert not [(a, b) for a in texts for b in texts if a is not b and a.startswith(b)]
        assert sum(piece.odds for piece in pieces) == pytest.approx(1.0, abs=1e-12)
        fresh = {piece.after for piece in pieces} - seen
        seen |= fresh
        waiting += fresh


@given(st.sampled_from(sorted(MACHINES)), st.lists(st.integers(0, 90), max_size=6))
def test_the_nats_of_a_text_are_those_of_its_chunks_wherever_it_is_cut(name, cuts):
    machine = MACHINES[name]
    text = machine.sample(90)
    borders = [0, *sorted(cuts), 90]
    chunks = [text[begin:end] for begin, end in pairwise(borders)]
    assert sum(machine.surprisals(chunks)) == pytest.approx(machine.nll(text), rel=1e-12, abs=1e-12)


@given(
    st.one_of(
        st.builds(Recall, st.integers(1, Recall.most)),
        st.builds(Alphabet, st.sampled_from(["forward", "backward", "both", "from-letter"])),
        st.builds(lambda a, b: Counting(min(a, b), max(a, b)), *[st.integers(1, Counting.most)] * 2),
        st.builds(Agreement, st.integers(1, Agreement.most)),
    )
)
def test_the_setting_of_a_machine_names_it(machine):
    assert type(machine)().with_setting(machine.setting) == machine


def test_a_name_gives_the_setting_and_then_the_length():
    with open_source("recall:5:300") as source:
        (document,) = source.parts["text"]
        assert document.name == "recall:5:300"
        assert "".join(document.chunks()) == Recall(5).sample(300)
    known = known_entropy("recall:5:300", 0, 18)
    assert known is not None
    assert known.nll == pytest.approx(2 * math.log(8))
    assert known.rate == Recall(5).entropy_rate
    with open_source("anbn:4") as source:
        assert source.parts["text"][0].name == "anbn:1-4:200000"


def test_lines_recall_their_letter_after_the_lag():
    for line in Recall(7).sample(2200).splitlines()[:-1]:
        assert line == f"{line[0]}.......?{line[0]}"


def test_lines_have_as_many_b_as_a_within_their_range():
    lines = Counting(2, 5).sample(3000).splitlines()[:-1]
    assert {line.count("a") for line in lines} == {2, 3, 4, 5}
    assert all(line == "a" * line.count("a") + "b" * line.count("a") for line in lines)


def test_the_language_is_that_of_the_country_over_each_number_of_words():
    lines = [line.split() for line in Agreement(3).sample(6000).splitlines()[:-1]]
    assert {len(line) - 5 for line in lines} == {0, 1, 2, 3}
    assert all(LANGUAGES[line[2]] == line[-1] and set(line[3:-2]) <= set(FILLERS) for line in lines)


@pytest.mark.parametrize(
    ("machine", "items"),
    [
        (Recall(7), list(Recall(7).items())),
        (Alphabet(), list(Alphabet.items(Alphabet.starts()["backward"]))[1:]),
        (Counting(1, 6), list(Counting.items(4))),
        (Agreement(5), list(Agreement(5).items(5, number=2, seed=1))),
    ],
    ids=["recall", "alphabet", "anbn", "agreement"],
)
def test_the_right_answer_is_the_only_one_that_the_machine_can_give(machine, items):
    assert items
    for item in items:
        assert item.text[item.position :].startswith(item.right)
        assert machine.nll(item.context + item.right) == pytest.approx(machine.nll(item.context), abs=1e-9)
        assert all(machine.nll(item.context + wrong) == math.inf for wrong in item.wrong)
        assert item.behind("abc\n").context == "abc\n" + item.context


def test_items_of_agreement_differ_by_the_cue_alone():
    items = list(Agreement(3).items(20, number=2))
    assert len(items) == 12
    for first in (0, 6):
        words = [item.context.split() for item in items[first : first + 6]]
        assert {word[2] for word in words} == set(LANGUAGES)
        assert len({tuple(word[3:]) for word in words}) == 1
        assert all(len(word) == 3 + 20 + 1 for word in words)
    assert items[0].context.split()[3:] != items[6].context.split()[3:]


def test_items_of_counting_ask_where_the_line_ends_and_nowhere_else():
    items = list(Counting.items(3))
    assert [item.right for item in items] == ["b", "b", "\n"]
    assert [item.context for item in items] == ["aaab", "aaabb", "aaabbb"]


def test_the_three_starts_of_the_alphabet():
    starts = Alphabet.starts("f")
    assert starts == {
        "forward": "abcdefghijklmnopqrstuvwxyz",
        "backward": starts["forward"][::-1],
        "from f": starts["forward"][5:],
    }


def test_every_word_of_the_grammar_has_its_class():
    text = Grammar().sample(20_000)
    whole = text[: max(text.rfind(" "), text.rfind("\n")) + 1]
    tags = list(Grammar().tags(text))
    assert "".join(tag.word + text[tag.end] for tag in tags) == whole
    assert all(tag.word in WORDS[tag.kind] and text[tag.begin : tag.end] == tag.word for tag in tags)
    kinds = {word: {tag.kind for tag in tags if tag.word == word} for word in ("saw", "felt", "cut", "hit", "fast")}
    assert all(kinds[word] == {"noun", "verb"} for word in ("saw", "felt", "cut", "hit"))
    assert kinds["fast"] == {"adjective", "adverb"}


def test_what_may_follow_in_a_sentence_is_no_word_of_two_classes():
    for choices in RULES.values():
        words = [word for kind, _, _ in choices for word in WORDS[kind]]
        assert len(words) == len(set(words))


def test_a_text_of_another_grammar_has_no_classes():
    with pytest.raises(DataError, match="no 'near' there"):
        list(Grammar().tags("the near dog\n"))
