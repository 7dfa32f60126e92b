"""Whole recipes: TOML files, each a configuration with a table ``about`` that says what it is for."""
