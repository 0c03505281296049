"""Distillation: a small language model learns the text and what a teacher thinks of each of its tokens."""
