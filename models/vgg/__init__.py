"""A VGG-like network, for small images."""
