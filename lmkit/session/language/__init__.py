"""The training of language models: what is theirs of a session."""
