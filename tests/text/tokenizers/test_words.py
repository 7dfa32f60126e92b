"""The word tokenizer, after the convention of the Penn Treebank and WikiText."""

from lmkit.config import DataConfig
from lmkit.text import WordTokenizer, build_corpus


def test_each_line_end_is_eos_and_ids_descend_by_frequency_then_word():
    tokenizer = WordTokenizer.train(["b a c\n", "c b a c\n"])
    assert tokenizer.vocabulary == ["<unk>", "<eos>", "c", "a", "b"]
    assert tokenizer.encode("a x\n\nb").tolist() == [3, 0, 1, 1, 4]
    assert tokenizer.eos_is_line_end
    assert tokenizer.ids_by_frequency


def test_literal_special_tokens_in_the_text_share_the_special_ids():
    tokenizer = WordTokenizer.train(["a <unk> <eos> <unk>"])
    assert tokenizer.vocabulary == ["<unk>", "<eos>", "a"]
    assert tokenizer.encode("<unk> a <eos> a<eos>").tolist() == [0, 2, 1, 0]


def test_a_word_cut_by_a_chunk_is_one_word():
    assert WordTokenizer.train(["ab", "cd ", "e"]).vocabulary == ["<unk>", "<eos>", "abcd", "e"]


def test_the_vocabulary_can_be_limited_by_size_and_by_count():
    assert WordTokenizer.train(["a a a b b c"], vocab_size=4).vocabulary == ["<unk>", "<eos>", "a", "b"]
    assert WordTokenizer.train(["a a a b b c"], min_count=3).vocabulary == ["<unk>", "<eos>", "a"]


def test_decoding_writes_no_spaces_around_line_ends():
    tokenizer = WordTokenizer.train(["to be\nor not\n"])
    assert tokenizer.decode(tokenizer.encode("\n to  be \n\n or not\n")) == "\nto be\n\nor not\n"


def test_wikitext_2_has_the_counts_that_papers_report(data_dir):
    config = DataConfig(corpus=str(data_dir / "wikitext-2"), tokenizer="word")
    corpus = build_corpus(config)
    assert corpus.tokenizer.vocab_size == 33_278
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 2_088_628,
        "valid": 217_646,
        "test": 245_569,
    }
    for split in corpus.splits.values():
        assert split.counts.words + split.counts.line_ends == split.counts.tokens == len(split)
        assert split.ids.dtype == "uint16"
    assert corpus.splits["train"].counts.oov == 54_625
