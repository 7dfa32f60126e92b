"""Checks of a trained run and of a text before training: each one a record with a figure, none of them prints."""
