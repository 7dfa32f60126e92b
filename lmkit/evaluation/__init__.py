"""Measuring what a model predicts: log-probabilities, perplexity, and the counts that make them comparable."""
