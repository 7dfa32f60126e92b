"""Experiments on where the gradient is cut, and the order of the text."""
