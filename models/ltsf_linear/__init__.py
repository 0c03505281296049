"""Linear forecasters."""
