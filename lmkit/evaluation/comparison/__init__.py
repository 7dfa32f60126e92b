"""Comparison: losses of several models on one text, aligned, with confidence intervals that know of dependence."""
