"""What run.json records of a run: its text, its machine, its versions."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch

from lmkit.evaluation.caveats import not_finite
from lmkit.evaluation.measurement import Measurement
from lmkit.evaluation.perplexity import Evaluation
from lmkit.hardware import describe_cpu
from lmkit.run.directory import lmkit_version
from lmkit.session.resolved import placement_options, resolved_options
from lmkit.session.resume import fingerprint
from lmkit.session.setup import TrainingSetup

__all__ = ["evaluation_figures", "final_figures", "run_info", "tokenizer_hash", "versions"]


def run_info(setup: TrainingSetup) -> dict[str, Any]:
    """Corpus with its hashes, versions, machine, threads, precision and the options in effect, as plain values."""
    corpus = setup.corpus
    splits = {
        name: {"tokens": len(split), "sha256": split.sha256, **vars(split.counts)}
        for name, split in corpus.splits.items()
    }
    return {
        "corpus": {"name": corpus.name, **corpus.info},
        "splits": splits,
        "tokenizer_sha256": tokenizer_hash(setup),
        "parameters": sum(parameter.numel() for parameter in setup.train.model.parameters()),
        "versions": {**versions(), "numpy": np.__version__},
        "cpu": describe_cpu(),
        **placement_options(setup.placement),
        "resolved": resolved_options(setup.config, corpus.tokenizer, setup.placement),
        "fingerprint": fingerprint(setup.placement),
    }


def tokenizer_hash(setup: TrainingSetup) -> str:
    """sha256 of the tokenizer's file."""
    return hashlib.sha256(setup.corpus.tokenizer.to_json().encode()).hexdigest()


def versions() -> dict[str, str]:
    """Of lmkit and torch."""
    return {"lmkit": lmkit_version(), "torch": torch.__version__}


def evaluation_figures(evaluation: Evaluation) -> dict[str, Any]:
    """What metrics.jsonl holds of an evaluation; where it is not finite, with the reason."""
    reason = not_finite(evaluation)
    return {
        "nll": evaluation.nll,
        "tokens_scored": evaluation.tokens,
        "nats_per_token": evaluation.nats_per_token,
        "perplexity": evaluation.perplexity,
        **({"not_finite": reason} if reason else {}),
        **({"seams_open": evaluation.seams_open} if evaluation.seams_open else {}),
    }


def final_figures(measurement: Measurement) -> dict[str, Any]:
    """What metrics.jsonl holds of the closing measurement: its split, what is known of the text, and its notes where it
    has any.
    """
    notes = {"notes": list(measurement.notes)} if measurement.notes else {}
    figures = {**evaluation_figures(measurement.evaluation), **measurement.known_figures()}
    return {"split": measurement.split, **figures, **notes}
