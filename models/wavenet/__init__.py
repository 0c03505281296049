"""A WaveNet-like language model."""
