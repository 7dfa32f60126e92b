"""Experiments on what a cell is made of, and what it does."""
