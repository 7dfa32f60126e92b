"""n-gram models: Kneser-Ney of a training text, and ARPA files."""
