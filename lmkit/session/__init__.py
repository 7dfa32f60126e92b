"""A training as a whole: set-up, saving, the best model, resuming, its log."""
