"""Files from elsewhere, pinned by hash."""
