"""Scoring: every token, word, line or hypothesis of a text with its log-probability."""
