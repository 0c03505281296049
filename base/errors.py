"""The one exception that a user is meant to see. The command line prints it as one line and exits with 1.

Not for bugs: those keep their own exceptions and tracebacks.
"""

import difflib
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn


class MetrolineError(Exception):
    """Something the user can mend: what went wrong, and (as `hint`) what to do about it.

    >>> str(MetrolineError("no such recipe: speches", hint="did you mean 'speeches'?"))
    "no such recipe: speches (did you mean 'speeches'?)"
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.hint = hint


def nearest(name: str, known: Iterable[str], otherwise: str = "there are") -> str:
    """A hint for a name that is not among `known`: the one that was probably meant, else all of them.

    >>> nearest("stepps", ["lr", "steps"])
    'did you mean steps?'
    >>> nearest("width", ["lr", "steps"])
    'there are: lr, steps'
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"{otherwise}: {', '.join(known) or 'none'}"


def exit_with(main: Callable[[], int]) -> NoReturn:
    """End the process with the status of `main`; after a MetrolineError, which is one line, 1; after Ctrl-C 130."""
    try:
        sys.exit(main())
    except MetrolineError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def printable(text: str) -> str:
    r"""Text of others as a message can have it: line breaks and what cannot be seen or written as escapes.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class NetworkError(MetrolineError):
    """Somebody else's machine did not answer: the same may work later, so the flow tries again."""


class BadItem(MetrolineError):
    """One item (an image, a clip, a row) that cannot be used: a client is told why; prepare stops or drops it."""
