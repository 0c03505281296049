"""What holds for every test: hypothesis sets no time limit for an example, because a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
