"""The user's own data: what is there, which task it suits, and what a recipe for it says."""
