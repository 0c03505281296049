"""The line of a recipe: DVC says what is stale, Prefect runs it, the endpoint gets it."""
