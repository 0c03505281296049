"""Bundles, and the models loaded from them."""
