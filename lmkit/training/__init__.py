"""Training by truncated back-propagation through time: one step, one loop, and the state that belongs to the caller."""
