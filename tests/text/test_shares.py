"""Shares of a text: their counts add up to those of the whole, whatever the tokenizer and however many there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lmkit.config import DataConfig
from lmkit.text import BPETokenizer, CharacterTokenizer, Tokenizer, WordTokenizer
from lmkit.text.corpus import build_corpus
from lmkit.text.cut_text import open_cut
from lmkit.text.shares import added_up, count_share, first_ids, shares_of

TEXT = "".join(f"the  cat's {number * number} <unk> sat\n\n  on the éèê mat\t\n" for number in range(300))
DOCUMENTS = [TEXT, "no line end", " \n", "two\nlines\n", TEXT[:5000].rstrip(), "", TEXT[7:900]]
KINDS = [CharacterTokenizer, WordTokenizer, BPETokenizer]


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[[list[str]], str]:
    def write(documents: list[str]) -> str:
        folder = tmp_path / "texts"
        folder.mkdir()
        for number, document in enumerate(documents):
            (folder / f"{number}.txt").write_text(document, encoding="utf-8", newline="")
        return str(folder)

    return write


@pytest.fixture(params=KINDS, ids=lambda kind: kind.kind)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    known: Tokenizer = request.param.train([TEXT[:4000]], vocab_size=280 if request.param is BPETokenizer else 40)
    return known


@pytest.mark.parametrize("number", [1, 2, 3, 7])
@pytest.mark.parametrize("documents", [[TEXT], DOCUMENTS, ["a b"]], ids=["one", "several", "short"])
def test_the_counts_of_shares_add_up_to_those_of_the_whole(
    corpus: Callable[[list[str]], str], tokenizer: Tokenizer, documents: list[str], number: int
):
    config = DataConfig(corpus=corpus(documents), valid_fraction=0.0, test_fraction=0.0)
    expected = build_corpus(config, tokenizer=tokenizer).splits["train"]
    with open_cut(config) as text:
        whole = text.slices["train"]
        parts = shares_of(whole, tokenizer, number)
        assert added_up([count_share(whole, part, tokenizer) for part in parts]) == expected.counts
        assert [part.begin for part in parts[1:]] == [part.end for part in parts[:-1]]
        if len(documents[0]) > 9:
            assert max(part.chars for part in parts) < whole.chars / number + 100
        for few in (0, 1, 50, 10**9):
            assert first_ids(whole, tokenizer, few) == expected.ids[:few].tolist()


def test_what_a_tokenizer_reads_as_a_whole_is_one_share(corpus: Callable[[list[str]], str]):
    class Whole(CharacterTokenizer):
        def cut(self, chunk: str) -> int:
            return -1

    with open_cut(DataConfig(corpus=corpus([TEXT]), valid_fraction=0.0, test_fraction=0.0)) as text:
        whole = text.slices["train"]
        parts = shares_of(whole, Whole.train([TEXT]), 3)
    assert [part.chars for part in parts] == [len(TEXT), 0, 0]
