"""What is learnt and how it is judged: one file or folder a task."""
