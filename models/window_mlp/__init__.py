"""A multilayer perceptron over the last few tokens, as a language model."""
