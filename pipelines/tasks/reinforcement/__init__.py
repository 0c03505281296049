"""Reinforcement learning with rewards that a function computes: GRPO (Shao et al. 2024, arXiv:2402.03300)."""
