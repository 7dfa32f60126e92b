"""The cases of scripts/bench.py, one file a subject, and how two sides are measured against each other."""
