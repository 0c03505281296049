"""The recipe: its schema, its defaults, its gates. It imports no stage."""
