"""The one exception that a user is meant to see. The command line prints it as one line and exits with 1.

Not for bugs: those keep their own exceptions and tracebacks.
"""


class MetrolineError(Exception):
    """Something the user can mend: what went wrong, and (as `hint`) what to do about it.

    >>> str(MetrolineError("no such recipe: speches", hint="did you mean 'speeches'?"))
    "no such recipe: speches (did you mean 'speeches'?)"
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint


class NetworkError(MetrolineError):
    """Somebody else's machine did not answer: the same may work later, so the flow tries again."""
