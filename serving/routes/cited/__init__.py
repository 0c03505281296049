"""Chats that answer from an index, with citations."""
