"""What is saved when: checkpoints, the best model, and the way back."""
