"""From a verified bundle to a running model, by its engine. Takes seconds and belongs in a thread."""

from serving.bundle import Bundle
from serving.engines.decode.bundle import DecoderBundle
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.retrieve.bundle import RetrieveBundle
from serving.http.settings import Settings
from serving.runtime import decoder_model, forward_model, retrieve_model
from serving.runtime.loaded_model import LoadedModel


def load(bundle: Bundle, settings: Settings) -> LoadedModel:
    """Load a bundle, answer once, and start its engine. Raises MetrolineError."""
    if isinstance(bundle, ForwardBundle):
        return forward_model.load(bundle, settings)
    if isinstance(bundle, RetrieveBundle):
        return retrieve_model.load(bundle, settings)
    assert isinstance(bundle, DecoderBundle)
    return decoder_model.load(bundle, settings)
