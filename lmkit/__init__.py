"""lmkit: train, measure and use recurrent language models.

    import lmkit

    lm = lmkit.load("runs/pydoc-1")
    print(lm.sample("The "))
    print(lm.perplexity("The with statement is used to wrap a block."))

Names are imported when they are first used, so ``import lmkit`` is quick and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lmkit.api import ScoredToken, TrainedModel, load
    from lmkit.classify.trained import TrainedClassifier
    from lmkit.comparing import compare
    from lmkit.config import (
        CheckpointConfig,
        ClassifierConfig,
        Config,
        DataConfig,
        FineTuning,
        ModelConfig,
        RuntimeConfig,
        TrainingConfig,
    )
    from lmkit.console.library import resume, train, train_classifier
    from lmkit.errors import (
        ConfigError,
        CorpusError,
        DataError,
        FailedError,
        LmkitError,
        LmkitWarning,
        NonFiniteError,
        RunError,
        TokenizerError,
    )
    from lmkit.evaluation.comparison.comparison import Comparison
    from lmkit.evaluation.options import AdapterSettings, EvalOptions
    from lmkit.evaluation.perplexity import Evaluation, evaluate, token_scores
    from lmkit.evaluation.predictor import NetworkPredictor, Predictor
    from lmkit.evaluation.scoring.lines import ScoredLine
    from lmkit.evaluation.scoring.words import ScoredWord
    from lmkit.experiments.api import experiment, load_experiment
    from lmkit.generation.decoder import StepDecoder
    from lmkit.generation.decoding import Decoding
    from lmkit.generation.generate import generate
    from lmkit.model.language_model import LanguageModel
    from lmkit.samplers import DocumentSampler, RandomSampler, SequentialSampler, Window
    from lmkit.session.session import Session
    from lmkit.session.tuning.origin import Origin
    from lmkit.text.corpus import Corpus, build_corpus
    from lmkit.text.tokenizers.kinds import load_tokenizer
    from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = [
    "AdapterSettings",
    "CheckpointConfig",
    "ClassifierConfig",
    "Comparison",
    "Config",
    "ConfigError",
    "Corpus",
    "CorpusError",
    "DataConfig",
    "DataError",
    "Decoding",
    "DocumentSampler",
    "EvalOptions",
    "Evaluation",
    "FailedError",
    "FineTuning",
    "LanguageModel",
    "LmkitError",
    "LmkitWarning",
    "ModelConfig",
    "NetworkPredictor",
    "NonFiniteError",
    "Origin",
    "Predictor",
    "RandomSampler",
    "RunError",
    "RuntimeConfig",
    "ScoredLine",
    "ScoredToken",
    "ScoredWord",
    "SequentialSampler",
    "Session",
    "StepDecoder",
    "Tokenizer",
    "TokenizerError",
    "TrainedClassifier",
    "TrainedModel",
    "TrainingConfig",
    "Window",
    "build_corpus",
    "compare",
    "evaluate",
    "experiment",
    "generate",
    "load",
    "load_experiment",
    "load_tokenizer",
    "resume",
    "token_scores",
    "train",
    "train_classifier",
]

_HOMES = {
    "lmkit.api": ("ScoredToken", "TrainedModel", "load"),
    "lmkit.classify.trained": ("TrainedClassifier",),
    "lmkit.comparing": ("compare",),
    "lmkit.config": (
        "CheckpointConfig",
        "ClassifierConfig",
        "Config",
        "DataConfig",
        "FineTuning",
        "ModelConfig",
        "RuntimeConfig",
        "TrainingConfig",
    ),
    "lmkit.console.library": ("resume", "train", "train_classifier"),
    "lmkit.errors": (
        "ConfigError",
        "CorpusError",
        "DataError",
        "FailedError",
        "LmkitError",
        "LmkitWarning",
        "NonFiniteError",
        "RunError",
        "TokenizerError",
    ),
    "lmkit.evaluation.comparison.comparison": ("Comparison",),
    "lmkit.evaluation.scoring.lines": ("ScoredLine",),
    "lmkit.evaluation.options": ("AdapterSettings", "EvalOptions"),
    "lmkit.evaluation.perplexity": ("Evaluation", "evaluate", "token_scores"),
    "lmkit.evaluation.predictor": ("NetworkPredictor", "Predictor"),
    "lmkit.evaluation.scoring.words": ("ScoredWord",),
    "lmkit.experiments.api": ("experiment", "load_experiment"),
    "lmkit.generation.decoder": ("StepDecoder",),
    "lmkit.generation.decoding": ("Decoding",),
    "lmkit.generation.generate": ("generate",),
    "lmkit.model.language_model": ("LanguageModel",),
    "lmkit.samplers": ("DocumentSampler", "RandomSampler", "SequentialSampler", "Window"),
    "lmkit.session.tuning.origin": ("Origin",),
    "lmkit.session.session": ("Session",),
    "lmkit.text.corpus": ("Corpus", "build_corpus"),
    "lmkit.text.tokenizers.kinds": ("load_tokenizer",),
    "lmkit.text.tokenizers.tokenizer": ("Tokenizer",),
}
_ROOMS = ("inspection", "plots")  # whose names are used as lmkit.inspection.read_activity(...)
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name in _ROOMS:
        return importlib.import_module(f"lmkit.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lmkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version("lmkit")
    except metadata.PackageNotFoundError:
        return "unknown"
