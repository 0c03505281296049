"""From a bundle to a release in the model store."""
