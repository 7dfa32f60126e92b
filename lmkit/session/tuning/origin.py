"""The run that a fine-tuning begins from: its network, its weights, its tokenizer."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmkit.config import REGULARISERS, Config, FineTuning, ModelConfig
from lmkit.errors import ConfigError
from lmkit.fields import alternatives, arguments_of, check_field, fields_of, flag_of
from lmkit.model.language_model import cutoffs_of
from lmkit.model.shapes import stored_tensors
from lmkit.run.directory import RunDirectory
from lmkit.run.stored import StoredRun
from lmkit.session.records.resolved import model_options
from lmkit.text.tokenizers.kinds import TOKENIZERS, load_tokenizer
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["Origin"]


@dataclass(frozen=True)
class Origin:
    """A run that was opened to begin another one from. step: that its weights are of, None where the run does not say.
    weights: by their stored names; weights_sha256: of their file. option: that named the run.
    """

    chosen: FineTuning
    stored: StoredRun
    step: int | None
    weights: Mapping[str, Tensor]
    weights_sha256: str
    option: str = "--init-from"

    @classmethod
    def open(cls, chosen: FineTuning, option: str = "--init-from") -> Origin:
        """The run that ``init_from`` names. Raises RunError where it is none, or is damaged or has no such model, and
        ConfigError where its tokenizer cannot be extended as it is asked for.
        """
        assert chosen.init_from is not None, "a fine-tuning begins from a run"
        run = RunDirectory.open(chosen.init_from)
        stored = run.stored()
        _check_specials(stored)
        _check_extension(chosen, stored.tokenizer)
        step, (name, content) = run.model_file(chosen.init_checkpoint, stored.blueprint)
        model = run.load_model(stored.language_model, torch.device("cpu"), (name, content))
        return cls(chosen, stored, step, stored_tensors(model), hashlib.sha256(content).hexdigest(), option)

    @property
    def named(self) -> str:
        """The run as it was named."""
        return f"{self.option} {self.chosen.init_from}"

    @property
    def model(self) -> ModelConfig:
        """The network's configuration, with the cutoffs that its vocabulary gave it."""
        model = self.stored.config.model
        if model.head != "adaptive":
            return model
        return dataclasses.replace(model, cutoffs=cutoffs_of(model, self.stored.tokenizer.vocab_size))

    @property
    def extends(self) -> bool:
        """Whether the new text's tokens join the vocabulary."""
        return self.chosen.extend_vocab != "none"

    def configure(self, given: Mapping[str, Any]) -> Config:
        """The configuration of a run that begins here: the network and tokenizer are this run's, ``given`` options are
        taken, all others have their defaults. Raises ConfigError for an option that contradicts the network or the
        tokenizer.
        """
        self.check_network(given)
        self.check_tokenizer(given)
        data = self.stored.config.data
        base = dataclasses.replace(Config(), model=self.model)
        own = {"tokenizer": data.tokenizer, "vocab_size": data.vocab_size}
        config = base.override({**given, **own})
        for name in ("embedding", "head"):
            if self.extends and name in (config.training.freeze or ()):
                raise ConfigError(
                    f"--freeze {name} would keep the rows of --extend-vocab's tokens as they begin: leave one out."
                )
        return config

    def check_network(self, given: Mapping[str, Any]) -> None:
        """Raise ConfigError for an option that contradicts the network."""
        own = model_options(self.model, self.stored.tokenizer.vocab_size)
        for item, hint in fields_of(ModelConfig):
            value = given.get(item.name)
            if value is None:
                continue
            if item.name in REGULARISERS:
                self._check_cell_has(item, value)
            elif check_field(item, hint, value) != own[item.name]:
                raise ConfigError(
                    f"{_written(item, value)} contradicts {self.named}, whose network has "
                    f"{_written(item, own[item.name])}: leave it out."
                )

    def _check_cell_has(self, item: dataclasses.Field[Any], value: Any) -> None:
        cells, cell = item.metadata["cells"], self.model.cell
        if cells and value != item.default and cell not in cells:
            raise ConfigError(
                f"{_written(item, value)} needs --cell {alternatives(cells)}, and the network of {self.named} has "
                f"--cell {cell}: leave it out."
            )

    def check_tokenizer(self, given: Mapping[str, Any]) -> None:
        """Raise ConfigError for an option that contradicts the tokenizer."""
        path, own = self.named, self.stored.tokenizer
        name = given.get("tokenizer")
        if name in TOKENIZERS and name != own.kind:
            raise ConfigError(f"--tokenizer {name} contradicts {path}, whose tokens are {own.kind}: leave it out.")
        if name is not None and name not in TOKENIZERS:
            self._check_tokenizer_file(name)
        if given.get("vocab_size") not in (None, self.stored.config.data.vocab_size):
            raise ConfigError(
                f"--vocab-size {given['vocab_size']} contradicts {path}, whose vocabulary has "
                f"{own.vocab_size:,} tokens: leave it out."
            )
        if given.get("min_count") not in (None, 1) and not self.extends:
            raise ConfigError(
                f"--min-count {given['min_count']} needs --extend-vocab: the tokens of {path} are chosen already."
            )

    def _check_tokenizer_file(self, name: str) -> None:
        path, own, other = self.named, self.stored.tokenizer, load_tokenizer(name)
        if other.sha256 == own.sha256:
            return
        if _specials(other) != _specials(own):
            raise ConfigError(
                f"--tokenizer {name} has the special tokens {_shown(_specials(other))}, and {path} has "
                f"{_shown(_specials(own))}: leave it out."
            )
        raise ConfigError(
            f"--tokenizer {name} contradicts {path}: its vocabulary is not that of the run. Leave it out."
        )


def _check_extension(chosen: FineTuning, tokenizer: Tokenizer) -> None:
    wanted, path = chosen.extend_vocab, chosen.init_from
    if wanted in ("none", tokenizer.unit):
        return
    if tokenizer.unit is None:
        raise ConfigError(
            f"--extend-vocab {wanted} does not go with --init-from {path}: its {tokenizer.kind} tokens are made of "
            "each other, and no list that could be extended. Leave it out."
        )
    raise ConfigError(
        f"--extend-vocab {wanted} does not go with --init-from {path}, whose tokens are {tokenizer.unit}: give "
        f"--extend-vocab {tokenizer.unit}."
    )


def _check_specials(stored: StoredRun) -> None:
    """Raise ConfigError where the run was trained with other special tokens than its tokenizer has now."""
    resolved = stored.record.values.get("resolved")
    if not isinstance(resolved, Mapping):  # runs of early versions record none
        return
    for name, number in _specials(stored.tokenizer).items():
        if name in resolved and resolved[name] != number:
            raise ConfigError(
                f"The network of {stored.path} was trained with {name} {resolved[name]}, and its tokenizer has "
                f"{name} {number}: another file stands in its place. Put the old one back."
            )


def _specials(tokenizer: Tokenizer) -> dict[str, int | None]:
    return {"eos_id": tokenizer.eos_id, "unk_id": tokenizer.unk_id}


def _shown(specials: Mapping[str, int | None]) -> str:
    return ", ".join(f"{name} {number}" for name, number in specials.items())


def _written(item: dataclasses.Field[Any], value: Any) -> str:
    """An option as it stands on the command line."""
    return f"no {flag_of(item)}" if value is None else " ".join(arguments_of(item, value))
