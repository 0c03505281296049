"""An endpoint that is up at once, for what is said around one."""


class Endpoint:
    """In place of `pipelines.line.endpoint.Served`."""

    url = "http://127.0.0.1:1"

    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *_: object) -> None: ...

    def start(self) -> None: ...
