"""Classification: labelled texts, a baseline that counts words, and what a classifier is worth."""
