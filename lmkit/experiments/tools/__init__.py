"""What many experiments do: train a language model, find its size, cut a text, write numbers."""
