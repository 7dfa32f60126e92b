"""The training of classifiers: what is theirs of a session."""
