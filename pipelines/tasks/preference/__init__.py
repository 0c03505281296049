"""Preference tuning: a pretrained chat model learns which of two answers to prefer."""
