"""Experiments on units of text, and what a loss means."""
