"""Sources, cleaning, tokenizers and token shards (NumPy only: this layer never imports torch or another of our layers)."""
