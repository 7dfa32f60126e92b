"""Generating text: decoding rules, a step decoder, columns of tokens, streaming text."""
