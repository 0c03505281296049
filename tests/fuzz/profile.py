"""How much is made up, the same in each run: found cases are kept beside the test as `@example`."""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FUZZ = settings(
    max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def outcome(run: Callable[[], object], expected: type[Exception]) -> str | None:
    """What a person is shown where something is refused, None where it is not. Other exceptions are bugs."""
    try:
        run()
    except expected as error:
        return str(error)
    return None


def one_line(said: str) -> bool:
    """There is something to read, on one line."""
    return bool(said.strip()) and len(said.splitlines()) == 1
