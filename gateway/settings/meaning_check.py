"""Errors and warnings about `routing.meaning` and routes: the embedder, and who gets texts."""

from collections.abc import Iterator

from gateway.settings.catalogue import list_provider_labs
from gateway.settings.errors import Mistake, Path
from gateway.settings.loader import EMBEDDING_MODEL_HINT, ConfigSource
from gateway.settings.model_names import list_embedding_names
from gateway.settings.schema.rules import LOCAL_EMBEDDER

_EMBED_PATH: Path = ("routing", "meaning", "embed")


def find_errors(source: ConfigSource) -> Iterator[Mistake]:
    """Yield an error if no lab has the embedding model that compares meanings."""
    part = source.config.routing.meaning
    if part is not None and part.embed not in {LOCAL_EMBEDDER, *list_embedding_names(source)}:
        message = f"no embedding model {part.embed!r}."
        yield source.make_mistake(_EMBED_PATH, message, f"{EMBEDDING_MODEL_HINT} Or take `local`.")


def find_warnings(source: ConfigSource) -> Iterator[Mistake]:
    """Yield warnings about routes that nothing compares, a comparison with nothing, and a maker."""
    config = source.config
    if config.routing.meaning is None and config.routes:
        message = "have no effect: nothing compares meanings."
        hint = "Name an embedder in `routing.meaning.embed`."
        yield source.make_mistake(("routes",), message, hint, warn=True)
    elif config.routing.meaning is not None and not (config.routes or config.exemplars):
        message = "has no effect: there are neither exemplars nor routes."
        yield source.make_mistake(("routing", "meaning"), message, warn=True)
    yield from _check_maker(source)


def _check_maker(source: ConfigSource) -> Iterator[Mistake]:
    """Yield a warning if texts go to a provider for the comparison alone."""
    config, part = source.config, source.config.routing.meaning
    if part is None or part.embed == LOCAL_EMBEDDER:
        return
    embedders = [
        provider
        for lab, lab_part in config.labs.items()
        for target in lab_part.embeddings
        for provider in (target.provider or lab,)
        if part.embed in {target.model, f"{lab}/{target.model}", f"{provider}/{target.model}"}
    ]
    if embedders and not any(list_provider_labs(config, provider) for provider in embedders):
        message = (
            f"sends texts of users to {', '.join(dict.fromkeys(embedders))}, which serves no tier."
        )
        hint = "Make sure that they may go there; a guard's `judge: off` keeps some back."
        yield source.make_mistake(_EMBED_PATH, message, hint, warn=True)
