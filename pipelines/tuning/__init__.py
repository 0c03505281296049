"""The search for settings: a space, a study of trials that survives any kill, the winner as a patch of the recipe."""
