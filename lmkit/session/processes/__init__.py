"""A session in several processes: the first one leads, the others follow."""
