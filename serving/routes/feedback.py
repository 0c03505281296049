"""POST /v1/feedback: what was right, of a request that was answered.

curl --json '{"id": "req-5f...", "label": "7"}' HOST/v1/feedback

`id` is the answer's X-Request-Id; `item` which one of a batch. At least one of `label` (the truth), `score` (a number),
`correction` (what the answer should have said) and `text` (anything). `kept` is true in the answer when it is on the
disk, false where the operator's redaction let nothing of it through.
"""

import queue
from typing import Annotated, Any

from fastapi import Request
from pydantic import BaseModel, Field

from base.errors import nearest
from data.signature import LabelsOutput
from serving.http.body import read_body
from serving.http.errors import ApiError, invalid
from serving.routes.schema import STRICT, parse
from serving.runtime.loaded_model import LoadedModel
from serving.runtime.runtime import Runtime

PATH = "/v1/feedback"
Text = Annotated[str, Field(min_length=1, max_length=65536)]


class FeedbackRequest(BaseModel):
    """The body."""

    model_config = STRICT

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    item: Annotated[int, Field(ge=0, lt=1 << 20)] = 0
    model: str | None = None
    label: Text | Annotated[float, Field(allow_inf_nan=False)] | None = None
    score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    correction: Text | None = None
    text: Text | None = None


async def feedback(runtime: Runtime, request: Request) -> dict[str, Any]:
    """Keep it. Raises ApiError: 400, 404 where feedback is off, 503 where it cannot be written."""
    settings, scope = runtime.settings, request.scope["metroline"]
    given = parse(await read_body(request, settings.body_limit, settings.body_seconds), FeedbackRequest)
    await runtime.until_ready()
    if not runtime.kept.on:
        message = "Feedback is not kept here. The server's operator turns it on with METROLINE_FEEDBACK=FOLDER."
        raise ApiError(404, message, code="feedback_off")
    values = given.model_dump(include={"label", "score", "correction", "text"}, exclude_none=True)
    if not values:
        raise invalid("Say one of label, score, correction and text.", "label", "missing_feedback")
    caller = str(scope["fields"].get("caller", ""))
    known = runtime.kept.answer(given.id, given.item)
    if known is not None and known[2] != caller:  # the id of somebody else's request tells nobody anything
        raise invalid("No request of yours has this id.", "id", "unknown_request")
    served = _said_by(runtime, known[1]) if known else runtime.pick(given.model)
    scope["served"], scope["fields"]["model"] = served, served.name
    if "label" in values:
        values["label"] = _label(served, values["label"])
    try:
        kept = await runtime.kept.feedback(served, given.id, given.item, caller, values)
    except (OSError, queue.Full) as error:
        message = f"The feedback could not be written: {getattr(error, 'strerror', '') or 'too much waits'}. Try again."
        raise ApiError(503, message, kind="server_error", code="not_kept", headers={"Retry-After": "2"}) from None
    if known and known[0] and "label" in values and (delivery := runtime.deliveries.get(served.name)):
        delivery.judged(known[1].rpartition(":")[2], wrong=known[0] != values["label"])
    return {"id": given.id, "item": given.item, "model": served.name, "kept": kept}


def _said_by(runtime: Runtime, model: str) -> LoadedModel:
    """The model, name:version, that has answered; of a version that is no longer served the one that is."""
    there = (*runtime.models, *runtime.candidates)
    same = (each for each in there if f"{each.name}:{each.bundle.version}" == model)
    return next(same, None) or runtime.pick(model.rpartition(":")[0])


def _label(served: LoadedModel, label: str | float) -> str | float:
    """The label as the model writes it. Raises ApiError 400 for one that it does not have."""
    signature = served.bundle.signature
    outputs = [] if signature is None else [each for each in signature.outputs if isinstance(each, LabelsOutput)]
    if not outputs:
        return label
    text = label if isinstance(label, str) else str(int(label)) if label.is_integer() else str(label)
    if all(text not in each.labels for each in outputs):
        hint = nearest(text[:100], outputs[0].labels[:100])
        raise invalid(f"{served.name} has no label {text[:100]!r}; {hint}", "label", "unknown_label")
    return text
