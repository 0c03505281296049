"""Documents, their chunks, and the table in which these are searched."""
