"""How the loss falls with parameters and data: short runs, a law through them, and a larger run that it foretells."""
