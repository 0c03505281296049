"""What classification and regression share: one input, one output, prepared records."""
