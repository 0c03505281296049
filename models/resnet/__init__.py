"""A residual network, for small images."""
