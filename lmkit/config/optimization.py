"""Optimisers, schedules and means of the weights: their options and the defaults of these."""

from __future__ import annotations

from typing import Any

__all__ = ["AVERAGES", "OPTIMIZERS", "SCHEDULES"]

# The options of each optimiser and their defaults: torch's, but for the second beta of AdamW (and so of Muon),
# because runs of minutes have few steps and want a shorter memory of squares.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.0},
    "adamw": {"betas": (0.9, 0.99), "eps": 1e-8},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8},
    "rmsprop": {"momentum": 0.0, "eps": 1e-8},
    "adagrad": {"eps": 1e-10},
    "muon": {"betas": (0.9, 0.99), "eps": 1e-8, "momentum": 0.95, "muon_lr": None},
}
# The means of the weights, with their options and the papers' defaults.
AVERAGES: dict[str, dict[str, Any]] = {
    "none": {},
    "ema": {"average_decay": 0.999},
    "swa": {"average_start": 0.75},
    "nt-asgd": {"average_n": 5},
}
SCHEDULES = {"sgd": "plateau", "adagrad": "constant"}  # where none is named; cosine for the other optimisers
