"""Many adapters over one exported base: rows of a batch that each have low-rank weights of their own."""
