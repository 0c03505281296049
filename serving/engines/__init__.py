"""How a loaded model is run."""
