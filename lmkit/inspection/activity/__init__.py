"""What gates, states and attention do while a text is read."""
