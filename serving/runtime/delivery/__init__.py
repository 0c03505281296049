"""A candidate release beside the live one."""
