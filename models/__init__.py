"""Networks. A model file holds no input or output and knows no recipe."""
