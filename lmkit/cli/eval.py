"""``lmkit eval``: what a model makes of a text, in every unit."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lmkit.cli.options import LARGEST, runtime_options, use_runtime

if TYPE_CHECKING:
    from lmkit.api import TrainedModel
    from lmkit.evaluation.measurement import Measurement
    from lmkit.text.token_file import TokenFile

__all__ = ["command"]

DEFAULT_WARMUP = 256


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--split",
    type=click.Choice(["train", "valid", "test"]),
    help="Split to measure (default: test if there is one, else valid).",
)
@click.option("--file", "file", help="Measure another text: a file, a .gz, a folder, or - for standard input.")
@click.option(
    "--window",
    type=click.IntRange(1, LARGEST),
    default=256,
    show_default=True,
    help="Tokens computed at a time; changes no number unless --state reset.",
)
@click.option(
    "--rows",
    type=click.IntRange(1, LARGEST),
    default=1,
    show_default=True,
    help="Rows computed side by side; 1 is the unbroken stream.",
)
@click.option(
    "--warmup",
    type=click.IntRange(0, LARGEST),
    help=f"Tokens that each row reads before its own (default: {DEFAULT_WARMUP} with --rows).",
)
@click.option(
    "--state",
    type=click.Choice(["carry", "reset", "document"]),
    help="State policy (default: as the model was trained; reset is for studies).",
)
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True, help="Arithmetic."
)
@click.option("--dynamic", is_flag=True, help="Dynamic evaluation: go on learning from the text that was scored.")
@click.option(
    "--dynamic-span", type=click.IntRange(1, LARGEST), default=64, show_default=True, help="Tokens per update."
)
@click.option("--dynamic-lr", type=float, default=1e-4, show_default=True, help="Rate of dynamic evaluation.")
@click.option("--dynamic-decay", type=float, default=0.02, show_default=True, help="Pull towards the trained weights.")
@click.option("--cache", type=click.IntRange(0, LARGEST), default=0, help="Neural cache over so many tokens.")
@click.option("--cache-weight", type=float, default=0.1, show_default=True, help="Share of the cache.")
@click.option("--cache-flatness", type=float, default=0.2, show_default=True, help="Weight of similarity in the cache.")
@click.option("--ngram", type=click.IntRange(0, 6), default=0, help="Mix with a Kneser-Ney model of this order.")
@click.option("--arpa", type=click.Path(), help="Mix with the n-gram model of an ARPA file.")
@click.option("--ngram-weight", type=float, default=0.1, show_default=True, help="Share of the n-gram model.")
@click.option("--mix", multiple=True, help="Mix with another run of the same tokenizer; may be given several times.")
@click.option("--tune", is_flag=True, help="Choose rates and weights on the validation split.")
@click.option("--words-only", is_flag=True, help="Word perplexity without counting line ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@runtime_options
def command(
    run: Path,
    split: str | None,
    file: str | None,
    window: int,
    rows: int,
    warmup: int | None,
    state: str | None,
    precision: str,
    words_only: bool,
    as_json: bool,
    device: str | None,
    threads: int | None,
    **adapters: Any,
) -> None:
    """Measure a trained model: perplexity, bits per character and byte, OOV, with all counts.

    Every token is scored once and the number does not depend on --window; --rows with a warm-up is quicker and agrees
    closely.
    """
    from lmkit.api import load
    from lmkit.console.tables import show_adapters, show_measurement
    from lmkit.errors import ConfigError

    if file is not None and split is not None:
        raise ConfigError("Give either --split or --file, not both.")
    if file == "":
        raise ConfigError("--file is empty: give a file, a folder, or - for standard input.")
    lm = load(run, use_runtime(device, threads))
    name, tokens = (file, lm.file_tokens(file)) if file is not None else lm.split_tokens(split)
    how: dict[str, Any] = {
        "state": state,
        "rows": rows,
        "warmup": DEFAULT_WARMUP if warmup is None else warmup,
        "window": window,
    }
    result = lm.measure(tokens, split=name, precision=precision, **how)
    trained = lm.config.training.state_policy
    if result.state != trained:
        shown = f"{result.state}, window {window}" if result.state == "reset" else result.state
        click.echo(f"Note: the model was trained with state {trained}; this is state {shown}.", err=True)
    adapted = _adapted(lm, tokens, result, adapters, how)
    if as_json:
        click.echo(json.dumps({**result.figures(), **_adapter_figures(adapted)}))
    else:
        show_measurement(result, words_only=words_only, file=sys.stdout)
        if adapted is not None:
            show_adapters(adapted.settings, adapted.results)


class _Adapted(NamedTuple):
    """The settings that were used, and the measurement with one adapter more at each level."""

    settings: dict[str, Any]
    results: list[tuple[str, Measurement]]


def _adapted(
    lm: TrainedModel, tokens: TokenFile, plain: Measurement, options: dict[str, Any], how: dict[str, Any]
) -> _Adapted | None:
    """Measure with adapters, or None where none was asked for."""
    from lmkit.api import load
    from lmkit.evaluation.adapters import TUNING_TOKENS, AdapterSettings, stack, tune
    from lmkit.samplers import stream_windows

    tuning, order, runs, arpa = (options.pop(name) for name in ("tune", "ngram", "mix", "arpa"))
    share = options.pop("ngram_weight")
    options["cache"] = min(options["cache"], max(len(tokens), TUNING_TOKENS))  # its memory is taken at once
    settings = AdapterSettings(**options, ngram_weight=share, mixed_weights=(1 / (1 + len(runs)),) * len(runs))
    if not (settings.dynamic or settings.cache or order or runs or arpa):
        return None
    span = settings.dynamic_span if settings.dynamic else 0
    others = [load(run, lm.device.type) for run in runs]
    parts = lm.adapter_parts(dynamic_span=span, ngram=order, arpa=arpa, others=others)
    if tuning:
        _, valid = lm.split_tokens("valid")
        settings = tune(parts, settings, lambda: stream_windows(valid.ids, eos_id=lm.tokenizer.eos_id, window=256))
    layers = stack(parts, settings)
    results = [(layers[0].name, plain)]
    for layer in layers[1:]:
        results.append((layer.name, lm.measure(tokens, split=plain.split, predictor=layer.predictor, **how)))
    if parts.ngram is not None:
        alone = lm.measure(tokens, split=plain.split, predictor=parts.ngram, **how)
        results.append((f"{order}-gram alone" if order else "n-gram alone", alone))
    return _Adapted({**dataclasses.asdict(settings), "tuned": tuning}, results)


def _adapter_figures(adapted: _Adapted | None) -> dict[str, Any]:
    if adapted is None:
        return {}
    rows = [
        {"name": name, "perplexity": result.evaluation.perplexity, "nll_nats": result.evaluation.nll}
        for name, result in adapted.results
    ]
    return {"adapters": rows, "adapter_settings": adapted.settings}
