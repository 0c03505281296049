"""The line: recipes, stages, the trainer, flows and the command line."""
