"""The section of the labels: which texts and labels, and how a classifier is made of an encoder."""

from __future__ import annotations

from dataclasses import dataclass

from lmkit.fields import NO_FLAG, Section, option

__all__ = ["LabelConfig"]


@dataclass(frozen=True)
class LabelConfig(Section):
    """Which texts and labels, and how a classifier is made of an encoder."""

    text_column: str = option("text", "Column of the texts.")
    label_column: str = option("label", "Column of the labels.")
    valid: str | None = option(
        None, "File for validation, with the same columns (default: --valid-fraction of the training file)."
    )
    input_format: str | None = option(
        None, "Format of the files (default: what a file's name ends in).", choices=("csv", "tsv", "jsonl")
    )
    pooling: str = option(
        "concat",
        "What the output layer sees of a text: the last output, the mean, the largest values, or all three.",
        choices=("last", "mean", "max", "concat"),
    )
    text_state: str = option(
        "carry",
        "State that each window of a text begins in: the carried or the initial one; --encoder brings its own.",
        flags=("--text-state", "--state"),
        choices=("carry", "reset"),
    )
    tune: str = option(
        "full",
        "What is trained: the output layer alone (probe), all, or one more part from the top down each epoch.",
        choices=("probe", "full", "gradual"),
    )
    class_weights: str = option(
        "none",
        "Weights of the loss: none, or balanced, so that each class counts the same however many texts it has.",
        choices=("none", "balanced"),
    )
    best_by: str = option(
        "nats",
        "What makes a model the best on validation: the fewest nats per text, or the most texts that are right.",
        choices=("nats", "accuracy"),
    )
    classes: tuple[str, ...] | None = option(
        None, "Classes in the order of their numbers: those of the training file.", flags=NO_FLAG
    )
