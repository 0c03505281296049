"""A table of bigrams as a language model."""
