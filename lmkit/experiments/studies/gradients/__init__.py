"""Experiments on what the gradient is, and what it needs."""
