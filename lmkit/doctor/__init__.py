"""Checks of a trained run and of a text before training: each one a record of what was found; none of them prints."""
