"""Measuring what a model predicts: log-probabilities of tokens, perplexity, and the counts that make them comparable."""
