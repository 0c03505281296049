"""Text classification by convolutions."""
