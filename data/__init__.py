"""Sources, cleaning, tokenizers and token shards (NumPy only: this layer imports neither torch nor another of ours)."""
