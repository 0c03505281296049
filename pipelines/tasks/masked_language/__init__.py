"""Masked-language pretraining: an encoder learns to find tokens that are hidden from it."""
