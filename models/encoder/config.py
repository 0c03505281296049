"""The keys of `model: {kind: encoder}`. Imports no torch."""

from models.encoder.shape import EncoderConfig

Config = EncoderConfig
