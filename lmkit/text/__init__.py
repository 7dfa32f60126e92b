"""Text to ids: sources, tokenizers, and corpora tokenised into files. Imports neither torch nor a console library."""

from lmkit.text.cache.store import cache_folder
from lmkit.text.corpus import Corpus, build_corpus, encode_path, encode_text
from lmkit.text.counts import Counts
from lmkit.text.sources.registry import CorpusEntry, load_registry
from lmkit.text.token_file import TokenFile
from lmkit.text.tokenizers.bpe import BPETokenizer
from lmkit.text.tokenizers.character import CharacterTokenizer
from lmkit.text.tokenizers.kinds import TOKENIZERS, load_tokenizer, tokenizer_from_json
from lmkit.text.tokenizers.tokenizer import StreamDecoder, Tokenizer
from lmkit.text.tokenizers.word import WordTokenizer

__all__ = [
    "TOKENIZERS",
    "BPETokenizer",
    "CharacterTokenizer",
    "Corpus",
    "CorpusEntry",
    "Counts",
    "StreamDecoder",
    "TokenFile",
    "Tokenizer",
    "WordTokenizer",
    "build_corpus",
    "cache_folder",
    "encode_path",
    "encode_text",
    "load_registry",
    "load_tokenizer",
    "tokenizer_from_json",
]
