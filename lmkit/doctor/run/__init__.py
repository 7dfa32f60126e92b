"""Checks of a trained run: its files, its tokenizer, its weights, and what its model predicts."""
