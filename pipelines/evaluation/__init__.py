"""What the `evaluate` stage computes: scores of tokens, groups, samples and the reference for drift."""
