"""Experiments on what a network keeps, and where it looks."""
