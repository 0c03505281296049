"""Sound: encoded bytes as an array at one rate."""
