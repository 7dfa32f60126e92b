"""What happens to gradients: by lag, in the matrices that they pass, and in a training."""
