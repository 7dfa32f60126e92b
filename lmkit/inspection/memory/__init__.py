"""What is left of the tokens that were read: in the state, and in the predictions."""
