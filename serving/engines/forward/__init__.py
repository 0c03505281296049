"""Models that answer in one call."""
