"""Rows of columns: reading them from files, what prepare finds in them, and a row as an array."""
