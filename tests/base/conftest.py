"""A server to download from."""

from tests.data.fetch.web_site import site

__all__ = ["site"]
