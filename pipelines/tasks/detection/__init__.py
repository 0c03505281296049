"""Detection: a box around each thing in an image, and what it is."""
