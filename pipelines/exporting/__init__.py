"""The exported forms of a checkpoint, one file each, and the proof that they compute the same (`parity`)."""
