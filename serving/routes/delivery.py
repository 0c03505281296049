"""GET /v1/models/{model}/delivery: the candidate that is tried beside a model, the evidence so far, and the decision.

`decision` is null (open), `promote` or `rollback`, and `why` says it in words. The numbers are those of the worker that
answers; the decision is that of all workers.
"""

from typing import Any

from serving.http.errors import ApiError
from serving.runtime.runtime import Runtime

PATH = "/v1/models/{model}/delivery"


async def delivery(runtime: Runtime, model: str) -> dict[str, Any]:
    """Its state. Raises ApiError 404: no such model, or none is tried beside it."""
    await runtime.until_ready()
    served = runtime.pick(model)
    found = runtime.deliveries.get(served.name)
    if found is None:
        raise ApiError(404, f"No candidate is tried beside {served.name}.", param="model", code="no_candidate")
    return found.state()
