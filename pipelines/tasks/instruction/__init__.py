"""Instruction tuning: a pretrained chat model learns the answers of given chats."""
