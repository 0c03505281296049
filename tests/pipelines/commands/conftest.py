"""The endpoints of serving's own tests, for the commands that talk to one."""

from tests.serving.conftest import flower, scripted, scripted_server, serve

__all__ = ["flower", "scripted", "scripted_server", "serve"]
