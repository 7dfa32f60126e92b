"""The options as they were in effect: what run.json records, so that a reader of a run needs no source of lmkit's."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from lmkit.config import PLACEMENT, RESUMABLE, Config, ModelConfig, flatten
from lmkit.errors import RunError
from lmkit.model.cells import CELLS
from lmkit.model.head import tail_width
from lmkit.model.language_model import cutoffs_of
from lmkit.model.shapes import shape_model
from lmkit.run.record import RUN
from lmkit.run.stored import CONFIG, StoredRun
from lmkit.session.placement import Placement, placement_options
from lmkit.text.tokenizers.tokenizer import Tokenizer

__all__ = ["edited_options", "model_options", "resolved_options", "take_edits"]


def resolved_options(config: Config, tokenizer: Tokenizer, placement: Placement) -> dict[str, Any]:
    """Every option with the value that was in effect where config.json says null or auto, and what else follows from
    them; without the text, which has an entry of its own.
    """
    return {**_values(config, tokenizer), **placement_options(placement)}


def edited_options(config: Config, tokenizer: Tokenizer, info: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Options that have another value than run.json records as ``resolved``, with the recorded one and the new one;
    none where it records nothing, as in runs of early versions.
    """
    recorded = info.get("resolved")
    if not isinstance(recorded, Mapping):
        return {}
    now = {
        name: value for name, value in vars(config.runtime).items() if name in PLACEMENT and value not in (None, "auto")
    }
    now |= json.loads(json.dumps(_values(config, tokenizer)))
    return {
        name: [recorded[name], value] for name, value in now.items() if name in recorded and recorded[name] != value
    }


def take_edits(stored: StoredRun, warn: Callable[[str], None]) -> dict[str, list[Any]]:
    """The options that were edited in config.json and that a resume may change; ``warn`` is told of them. Raises
    RunError where others were edited.
    """
    found = edited_options(stored.config, stored.tokenizer, stored.record.values)
    edited = {name: values for name, values in found.items() if name not in PLACEMENT}
    fixed = {name: values for name, values in edited.items() if name not in RESUMABLE}
    if fixed:
        raise RunError(f"{stored.path / CONFIG} {_edits(fixed)}, as {RUN} records: put the old value back.")
    if edited:
        warn(f"{stored.path / CONFIG} {_edits(edited)}, as {RUN} records; the new value holds from here on.")
    return edited


def _edits(edited: Mapping[str, list[Any]]) -> str:
    return "was edited: " + " and ".join(f"{name} was {old} and is {new}" for name, (old, new) in edited.items())


def _values(config: Config, tokenizer: Tokenizer) -> dict[str, Any]:
    """What follows from the configuration and the tokenizer alone."""
    model, training = config.model, config.training
    options = {
        name: value
        for name, value in flatten(config.to_dict(), type(config)).items()
        if name not in (*PLACEMENT, "corpus", "valid")
    }
    embedding, layer, output = model.dropouts
    options |= model_options(model, tokenizer.vocab_size) | {
        "tokenizer": tokenizer.kind,
        "vocab_size": tokenizer.vocab_size,
        "eos_id": tokenizer.eos_id,
        "unk_id": tokenizer.unk_id,
        "embedding_dropout": embedding,
        "layer_dropout": layer,
        "output_dropout": output,
        "state": training.state_policy,
        "window_jitter": training.jitter,
        **training.truncation_options,
        "schedule": training.schedule_name,
        "epochs": training.epoch_limit,
        "init_seed": config.runtime.weights_seed,
        "data_seed": config.runtime.order_seed,
        **training.optimizer_options,
        **training.average_options,
    }
    if training.optimizer == "adamw":  # the name by which earlier runs recorded them
        options["adam_betas"] = options["betas"]
    return options | (_clusters(model, tokenizer.vocab_size) if model.head == "adaptive" else {})


def model_options(model: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The options of a network, with those that were left open as they are taken."""
    own = {
        "embedding_size": model.embedding_size or model.hidden_size,
        "initial_state": model.initial_state or "zero",
    }
    return {**dataclasses.asdict(model), **_cell_options(model, vocab_size), **own}


def _cell_options(model: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """The cell's own options that were left open, with the values that it takes for them: what it keeps under their
    names, else its defaults.
    """
    kind = CELLS[model.cell]
    parameters = inspect.signature(kind).parameters
    layer = shape_model(model, vocab_size).cells[0]
    cell = next(module for module in layer.modules() if isinstance(module, kind))  # a block may stand around it
    left_open = [name for name in parameters if getattr(model, name, "") is None]
    return {name: getattr(cell, name, parameters[name].default) for name in left_open}


def _clusters(model: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """Where the clusters of an adaptive softmax begin, by rank, and at which width each of its tails is computed."""
    cutoffs = cutoffs_of(model, vocab_size)
    if model.tie_embeddings:
        return {"cutoffs": cutoffs, "tail_widths": [model.embedding_size or model.hidden_size] * len(cutoffs)}
    widths = [tail_width(model.output_size, number) for number in range(len(cutoffs))]
    return {"cutoffs": cutoffs, "tail_widths": widths}
