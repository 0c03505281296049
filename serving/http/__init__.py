"""What HTTP needs whatever is served: bodies, keys, limits, errors, logs, streams."""
