"""Text classification by a transformer's encoder."""
