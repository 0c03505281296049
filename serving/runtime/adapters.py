"""Adapters over the bases that a server has: each is a model of its own to its clients, BASE:ADAPTER."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from base.errors import MetrolineError
from serving.bundle import Bundle
from serving.engines.decode.adapter_bundle import AdapterBundle
from serving.engines.decode.adapters import Adapter
from serving.runtime.decoder_model import AdapterModel, DecoderModel
from serving.runtime.loaded_model import LoadedModel
from serving.runtime.metrics import AdapterMetrics

log = logging.getLogger("metroline.runtime")


def divide(bundles: Sequence[Bundle]) -> tuple[list[Bundle], list[AdapterBundle]]:
    """The bundles that are loaded by themselves, and the adapters."""
    adapters = [each for each in bundles if isinstance(each, AdapterBundle)]
    return [each for each in bundles if not isinstance(each, AdapterBundle)], adapters


def attach(models: Sequence[LoadedModel], adapters: Sequence[AdapterBundle]) -> tuple[LoadedModel, ...]:
    """The models, and after them their adapters. Raises MetrolineError: an adapter whose base is not among them or is
    another one, more than there is room for, weights that do not fit."""
    bases = {each.name: each for each in models if isinstance(each, DecoderModel)}
    rows = dict.fromkeys(bases, 0)
    attached: list[LoadedModel] = list(models)
    for bundle in adapters:
        if (base := bases.get(bundle.base)) is None:
            hint = f"it is served with its base: metroline serve {bundle.base}"
            raise MetrolineError(f"{bundle.name} is an adapter of {bundle.base}, which is not served", hint=hint)
        if problem := bundle.problem(base.bundle):
            raise MetrolineError(f"{bundle.name} cannot be served over {base.name}: {problem}")
        rows[base.name] += 1
        attached.append(_attached(base, bundle, rows[base.name]))
    return tuple(attached)


def _attached(base: DecoderModel, bundle: AdapterBundle, row: int) -> AdapterModel:
    if row > base.bundle.adapters:
        raise MetrolineError(
            f"{base.name} has room for {base.bundle.adapters} adapters, so {bundle.name} is one too many",
            hint="raise export.adapters of the base, or take one out: metroline retire NAME",
        )
    bank = base.engine.bank
    assert bank is not None  # the bundle has room
    try:
        bank.put(row, bundle.weights(base.bundle.precision))
    except ValueError as error:
        raise MetrolineError(f"{bundle.name} does not fit the graph of {base.name}: {error}") from None
    shown = replace(
        base.bundle, name=f"{base.name}:{bundle.name}", version=bundle.version, created=bundle.created,
        data_hash=bundle.data_hash, reference=None, path=bundle.path, files=bundle.files,
    )  # fmt: skip
    log.info("adapter loaded", extra={"fields": {"model": shown.name, "version": shown.version, "row": row}})
    key = f"{bundle.name}:{bundle.version}"
    return AdapterModel(
        shown, base.engine, AdapterMetrics(shown), base.vocabulary, base.chats, base.calls, Adapter(row, key), base.name
    )
