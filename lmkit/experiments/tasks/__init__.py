"""Tasks of tensors for experiments: what is no text, with a network that is trained on it by plain ``torch.optim``."""
