"""The exemplars and routes of a configuration, each wording for itself, and where they clash."""

from collections.abc import Iterator

from gateway.routing.classifier.exemplars import Exemplar, find_clashes
from gateway.routing.classifier.meaning import Reference
from gateway.settings.errors import Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import Config


def list_exemplars(config: Config) -> list[Exemplar]:
    """Return the exemplars, one for each wording."""
    return [
        Exemplar(part.name or str(index), prompt, part.tier)
        for index, part in enumerate(config.exemplars, 1)
        for prompt in part.prompt
    ]


def list_references(config: Config) -> list[Reference]:
    """Return the texts that turns are compared with by meaning: of exemplars, then of routes."""
    routes = [
        Reference(part.name or str(index), part.tier, description, "route")
        for index, part in enumerate(config.routes, 1)
        for description in part.description
    ]
    return [
        *(Reference(item.name, item.tier, item.prompt) for item in list_exemplars(config)),
        *routes,
    ]


def find_contradictions(source: ConfigSource) -> Iterator[Mistake]:
    """Yield a mistake for each pair of exemplars, or of routes, that contradicts itself."""
    config = source.config
    wordings = {
        "exemplars": [part.prompt for part in config.exemplars],
        "routes": [part.description for part in config.routes],
    }
    for section, parts in (("exemplars", config.exemplars), ("routes", config.routes)):
        owners = [index for index, texts in enumerate(wordings[section]) for _ in texts]
        texts = [text for wording in wordings[section] for text in wording]
        entries = [
            Exemplar(parts[index].name or str(index + 1), text, parts[index].tier)
            for index, text in zip(owners, texts, strict=True)
        ]
        for first_index, second_index, similarity in find_clashes(entries):
            words = "the same" if similarity == 1 else "nearly the same"
            first = entries[first_index]
            message = f"is {words} as {first.name!r}, which gets {first.tier}."
            yield source.make_mistake((section, owners[second_index]), message, warn=similarity < 1)
