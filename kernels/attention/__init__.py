"""The attention op: Triton on GPUs, SDPA on CPUs, a plain reference."""
