"""A training that begins from another run: its origin, and what of its text was seen before."""
