"""An index of documents: chunks, embedded by a released embedder, to be searched and cited."""
