"""Benchmarks: each module is a command that ends with one line of JSON. `python -m benchmarks --help` runs them all."""
