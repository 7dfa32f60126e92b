"""What run.json says of a run: where it was computed, with what, from which values."""
