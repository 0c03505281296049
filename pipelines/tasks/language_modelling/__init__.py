"""The task of predicting each next token."""
