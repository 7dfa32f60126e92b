"""The cache: what is known of a text, its tokenizers and token files, kept by content and sealed by checksums."""
