"""Fused operations with a plain reference each; `kernels.attention` is the attention of every model."""
