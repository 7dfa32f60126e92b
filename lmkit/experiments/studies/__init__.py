"""The experiments, a file each, in rooms by what they ask about."""
