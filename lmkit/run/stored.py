"""A run as its files describe it: its options, its record and its tokenizer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmkit.config import ClassifierConfig, Config
from lmkit.errors import ConfigError, RunError
from lmkit.files import exists
from lmkit.model.blueprint import Blueprint, ClassifierBlueprint, LanguageBlueprint
from lmkit.model.encoder import Encoder
from lmkit.run.config_file import config_from_values
from lmkit.run.json_files import read_object, read_text
from lmkit.run.record import RUN, RunRecord
from lmkit.run.version import lmkit_version
from lmkit.text.sources.moved import find_text
from lmkit.text.tokenizers.kinds import tokenizer_from_json
from lmkit.text.tokenizers.tokenizer import LARGEST_FILE, Tokenizer

__all__ = [
    "CONFIG",
    "TOKENIZER",
    "StoredRun",
    "check_text_is_there",
    "check_vocabulary",
    "classifier_blueprint",
    "config_of",
    "read_tokenizer",
]

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
ADVICE = {  # for a run of another kind than the one that is needed
    Config.kind: "the commands of `lmkit classify` take it",
    ClassifierConfig.kind: "`lmkit classify train --encoder {}` trains one on it",
}


@dataclass(frozen=True)
class StoredRun:
    """What config.json, run.json and tokenizer.json of a run hold, each read once and checked against the others.

    values: config.json as it is. config: the same as a configuration, its text by the absolute path where it is now.
    """

    path: Path
    values: Mapping[str, Any]
    record: RunRecord
    config: Config
    tokenizer: Tokenizer

    @property
    def blueprint(self) -> Blueprint[Encoder]:
        """What its network is made from, whatever its kind."""
        return self.classifier if isinstance(self.config, ClassifierConfig) else self.language_model

    @property
    def language_model(self) -> LanguageBlueprint:
        """What the network of a language model's run is made from."""
        return LanguageBlueprint(self.config.model, self.tokenizer.vocab_size)

    @property
    def classifier(self) -> ClassifierBlueprint:
        """What the network of a classifier's run is made from."""
        assert isinstance(self.config, ClassifierConfig), "not the run of a classifier"
        return classifier_blueprint(self.config, self.tokenizer.vocab_size)

    def check_kind(self, kind: str) -> None:
        """Raise RunError for a run of another kind than is needed."""
        if self.config.kind != kind:
            raise RunError(f"{self.path} is a {self.config.kind}, not a {kind}: {ADVICE[kind].format(self.path)}.")

    @classmethod
    def read(cls, folder: Path) -> StoredRun:
        """Raises RunError where config.json or tokenizer.json is damaged, the tokenizer is not the one that the run
        began with, or config.json was written for another vocabulary. A fault of run.json is raised where it is needed.
        """
        values, record = read_object(folder / CONFIG), RunRecord.read(folder)
        stored = cls(folder, values, record, config_of(folder, values, record), _tokenizer(folder, record))
        check_vocabulary(folder, values, stored.tokenizer.vocab_size)
        return stored


def check_text_is_there(folder: Path, config: Config) -> None:
    """Raise RunError, with what to do, where the configuration of the run in a folder names a text that is gone."""
    path = Path(config.data.corpus)
    if path.is_absolute() and not exists(path):
        others = (
            ""
            if isinstance(config, ClassifierConfig)
            else ", and eval and compare measure another text with --file PATH"
        )
        raise RunError(
            f"The text of {folder} is no longer at {path}: `{config.command} --resume {folder} --corpus PATH` takes it "
            f"from where it is now{others}."
        )


def config_of(folder: Path, values: Mapping[str, Any], record: RunRecord) -> Config:
    """The configuration that the content of config.json stands for, its text where config.json says, or else where the
    cache knows a text of the recorded hash. Raises RunError if it is damaged or of a newer format.
    """
    try:
        config = config_from_values(values, folder)
    except ConfigError as error:
        raise RunError(f"{folder / CONFIG} {_fault(values, error)}") from error
    corpus = Path(config.data.corpus)
    if not corpus.is_absolute() or exists(corpus):
        return config
    return config.override({"corpus": str(find_text(record.text_hash) or corpus)})


def classifier_blueprint(config: ClassifierConfig, vocab_size: int) -> ClassifierBlueprint:
    """What the network of a classifier is made from, once its classes are known."""
    labels, window = config.labels, config.training.window
    shape = (len(labels.classes or ()), labels.pooling, window)
    return ClassifierBlueprint(config.model, vocab_size, *shape, resets=labels.text_state == "reset")


def read_tokenizer(folder: Path) -> tuple[str, Tokenizer]:
    """The text of tokenizer.json and the tokenizer, whatever run.json says of it."""
    text = read_text(folder / TOKENIZER, LARGEST_FILE)
    return text, tokenizer_from_json(text, str(folder / TOKENIZER))


def check_vocabulary(folder: Path, values: Mapping[str, Any], vocab_size: int) -> None:
    """Raise RunError if config.json was written for another number of tokens than the tokenizer has."""
    declared = values.get("vocab_size")
    if declared != vocab_size:
        raise RunError(f"{folder / CONFIG} declares {declared!s:.20} tokens, and {TOKENIZER} has {vocab_size}.")


def _tokenizer(folder: Path, record: RunRecord) -> Tokenizer:
    """The run's tokenizer. Raises RunError where its sha256 is not the one in run.json, if there is one."""
    text, tokenizer = read_tokenizer(folder)
    written = hashlib.sha256(text.encode()).hexdigest()
    if record.tokenizer_hash not in (None, written, tokenizer.sha256):
        raise RunError(
            f"{folder / TOKENIZER} has changed since the run began: its sha256 is not the one in {RUN}, and its "
            "ids may mean other tokens. Put the old file back."
        )
    return tokenizer


def _fault(values: Mapping[str, Any], error: ConfigError) -> str:
    """What to say of a config.json that cannot be read: a later version wrote it, or it is damaged."""
    version, own = values.get("lmkit"), lmkit_version()
    if isinstance(version, str) and _numbers(version) > _numbers(own):
        return (
            f"was written by lmkit {version:.20}: install that version or a later one, because lmkit {own} does not "
            "know all of its options."
        )
    return f"is damaged: {error}"


def _numbers(version: str) -> list[int]:
    """``0.10.2`` -> [0, 10, 2]; nothing for what is no version."""
    return [int(part) for part in re.findall(r"\d{1,9}", version, re.ASCII)[:3]]
