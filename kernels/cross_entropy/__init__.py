"""A linear layer and its cross-entropy in one; logits are never held whole."""
