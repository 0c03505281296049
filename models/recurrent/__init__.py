"""Recurrent language models: plain cells, LSTM, GRU."""
