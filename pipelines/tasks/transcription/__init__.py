"""Transcription: the words that are spoken in a clip."""
