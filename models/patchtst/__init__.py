"""PatchTST, a transformer for series."""
