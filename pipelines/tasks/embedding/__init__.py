"""Embeddings: a text as a vector, alike texts close to each other."""
