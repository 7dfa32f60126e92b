"""What is shown where: streams that may refuse, consoles on them, the progress line, numbers as short texts."""
