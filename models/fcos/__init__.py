"""FCOS: an anchor-free detector of one stage."""
