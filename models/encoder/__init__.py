"""Encoders of text: BERT and its modern form."""
