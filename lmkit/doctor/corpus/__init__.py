"""Checks of a text before anything is trained on it: its bytes, its lines, its splits, and what a training takes."""
