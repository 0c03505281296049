"""LeNet, for small images."""
