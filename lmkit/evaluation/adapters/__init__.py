"""Adapters: what is put on a network while it reads a text: dynamic evaluation, caches, mixtures."""
