"""Options of ``lmkit.train`` and ``lmkit.resume`` as types, for editors and type checkers.

The configuration itself stands in ``lmkit.config``; a test holds the two equal.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypedDict, TypeVar

from lmkit.config import Config
from lmkit.fields import fields_of

__all__ = ["Changes", "Options", "OptionsOfClassifiers", "shows_options"]

F = TypeVar("F", bound=Callable[..., Any])


class SharedOptions(TypedDict, total=False):
    """What every training takes, whatever it trains."""

    tokenizer: str
    vocab_size: int | None
    min_count: int
    valid_fraction: float
    cell: str
    block: str
    num_layers: int
    hidden_size: int
    embedding_size: int | None
    dropout: float
    embedding_dropout: float | None
    layer_dropout: float | None
    output_dropout: float | None
    locked_dropout: bool
    embedding_type_dropout: float
    weight_drop: float
    zoneout: float
    nonlinearity: str | None
    irnn_form: str | None
    kernel: str | None
    recurrent_init: str | None
    recurrent_scale: float | None
    forget_bias: float | None
    timescales: str | None
    initial_state: str | None
    input_gate: str | None
    projection_size: int | None
    mogrifier_rounds: int | None
    conv_width: int | None
    heads: int | None
    context: int | None
    attention: int | None
    attention_kind: str
    window: int
    batch_size: int
    accumulate: int
    optimizer: str
    lr: float
    betas: tuple[float, ...] | None
    eps: float | None
    momentum: float | None
    muon_lr: float | None
    weight_decay: float
    schedule: str | None
    warmup: float
    lr_decay: float
    decay_after: int | None
    lr_decay_per_layer: float
    freeze: tuple[str, ...] | None
    unfreeze_every: int | str | None
    average: str
    average_decay: float | None
    average_start: float | None
    average_n: int | None
    max_grad_norm: float
    epochs: int | None
    max_steps: int | None
    max_seconds: float | None
    eval_every: int | None
    patience: int | None
    on_nonfinite: str
    skip_spikes: bool
    checkpoint_every: int | None
    checkpoint_seconds: float
    keep_checkpoints: int
    seed: int
    init_seed: int | None
    data_seed: int | None
    device: str
    precision: str
    threads: int | None


class Options(SharedOptions, total=False):
    """What ``lmkit.train`` takes besides the text: every field of the configuration but the corpus."""

    documents: str
    test_fraction: float
    split_at: str
    tie_embeddings: bool
    head: str
    cutoffs: tuple[int, ...] | None
    sampler: str
    state: str | None
    drop_state: float
    window_jitter: int
    truncation: str
    k1: int | None
    k2: int | None
    artbp_cut: float | None
    artbp_chunk: int | None
    burn_in: int
    ar_alpha: float
    tar_beta: float


class OptionsOfClassifiers(SharedOptions, total=False):
    """What ``lmkit.train_classifier`` takes besides the training file: every field that a classifier has but that."""

    text_column: str
    label_column: str
    valid: str | None
    input_format: str | None
    pooling: str
    text_state: str
    tune: str
    class_weights: str
    best_by: str


class Changes(TypedDict, total=False):
    """What ``lmkit.resume`` may change; of the text only its path."""

    corpus: str
    epochs: int | None
    max_steps: int | None
    max_seconds: float | None
    checkpoint_every: int | None
    checkpoint_seconds: float
    keep_checkpoints: int
    device: str
    precision: str
    threads: int | None


def shows_options(names: Iterable[str], *, with_defaults: bool, kind: type[Config] = Config) -> Callable[[F], F]:
    """Put options that a function takes as ``**options`` into its signature and its docstring, for ``help`` and for
    completion in notebooks.
    """
    wanted = set(names)
    sections = [getattr(kind(), one.name) for one in dataclasses.fields(kind)]
    fields = [
        (item, hint, getattr(section, item.name)) for section in sections for item, hint in fields_of(type(section))
    ]
    chosen = [one for one in fields if one[0].name in wanted]

    def decorate(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        more = [
            inspect.Parameter(
                item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default if with_defaults else None,
                annotation=hint,
            )
            for item, hint, default in chosen
        ]
        help_lines = [f"    {item.name}: {item.metadata['help']}" for item, _, _ in chosen]
        function.__dict__["__signature__"] = signature.replace(parameters=[*own, *more])
        function.__doc__ = "\n".join([inspect.cleandoc(function.__doc__ or ""), "", "Options:", *help_lines])
        return function

    return decorate
