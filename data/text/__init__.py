"""Text: cleaning, duplicates, tokenizers, token shards, chat templates."""
