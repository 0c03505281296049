"""Graphs in 8 and 4 bits, and what they lose."""
