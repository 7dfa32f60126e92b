"""The engine: plans the runs of an experiment, makes those that are missing, and writes what they found."""
