"""Variables of the environment that look like settings and are none."""

import difflib
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from gateway.settings.environment import FIXED, RESERVED
from gateway.settings.errors import Mistake
from gateway.settings.schema.root import Config

_PREFIX = "TIERGATE_"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_LIKE = 0.81
"""Below this a name is another program's: a container host names a service's own port."""


def strays(environ: Mapping[str, str]) -> Iterator[Mistake]:
    """A warning for each single word that is no setting and is close to the name of one."""
    known = _known()
    for name, text in environ.items():
        word = name.removeprefix(_PREFIX).lower()
        address = "://" in text  # TIERGATE_PORT=tcp://10.0.0.1:8484 is Kubernetes'
        if word == name.lower() or "__" in word or not text or address:
            continue
        if word in Config.model_fields or word in RESERVED | FIXED:
            continue
        close = difflib.get_close_matches(word, known, n=1, cutoff=_LIKE)
        if close:
            hint = f"Did you mean {known[close[0]]}?"
            yield Mistake(level="warning", file=name, message="changes nothing.", hint=hint)


def proxies(environ: Mapping[str, str], config: Config) -> Iterator[Mistake]:
    """A warning where the environment has a proxy, and no provider does."""
    if any(part.proxy for part in config.providers.values()):
        return
    for name in _PROXIES:
        if environ.get(name):
            hint = f'Give a provider `proxy: "${{{name}}}"`.'
            yield Mistake(level="warning", file=name, message="is not used.", hint=hint)
            return


def _known() -> dict[str, str]:
    """Names that people may have meant, by the word that each is known by."""
    found = {word: f"{_PREFIX}{word.upper()}" for word in sorted(RESERVED)}
    for name, field in Config.model_fields.items():
        if name in FIXED | RESERVED:
            continue
        found[name] = f"{_PREFIX}{name.upper()}"
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            for inner in part.model_fields:
                if difflib.get_close_matches(inner, RESERVED, n=1, cutoff=_LIKE):
                    continue  # TIERGATE_KEY is TIERGATE_KEYS, and not the key of metrics
                found.setdefault(inner, f"{_PREFIX}{name.upper()}__{inner.upper()}")
    return found
