"""A multilayer perceptron, for tables and small images."""
