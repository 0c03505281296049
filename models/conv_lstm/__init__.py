"""A recogniser of speech: convolutions over a spectrogram, then long short-term memory both ways."""
