"""The run directory: its files, log, lock, weights and checkpoints."""
