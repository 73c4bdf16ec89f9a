"""A configuration, checked and built into all that deciding needs; nothing of it runs yet."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from gateway.core.call import Key
from gateway.dialects import DIALECTS
from gateway.dialects.anthropic_messages import effort as messages
from gateway.dialects.gemini import effort as gemini
from gateway.dialects.openai_chat import effort as chat
from gateway.dialects.openai_responses import effort as responses
from gateway.ledger.redaction_patterns import strike
from gateway.limits.keys import KeyTable
from gateway.routing.classifier import model_file
from gateway.routing.classifier.exemplars import Exemplar, ExemplarClassifier, clashes
from gateway.routing.classifier.heuristic import Classifier, HeuristicClassifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.errors import ModelFileError, RuleError
from gateway.routing.lint import unreachable_rules
from gateway.routing.router import Router
from gateway.routing.rules.compile import RuleSet, compile_rules
from gateway.settings import baseline, catalogue, lifecycle_warnings, list_prices, validate
from gateway.settings.catalogue import BuiltCatalogue
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import MediaPart
from gateway.settings.schema.server import ANY
from gateway.upstream import media_fetch

SHIPPED = Path(model_file.__file__).parents[1] / "learned.tiergate"
"""The artefact that the package brings."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_GUESSED = 16
"""Characters from which on a key that an operator has thought of is not warned of."""
_LONG = "Take 32 random bytes: `openssl rand -hex 32`."

STYLES = {
    "openai-chat": frozenset(chat.STYLES),
    "openai-responses": frozenset(responses.STYLES),
    "anthropic-messages": frozenset(messages.STYLES),
    "gemini": frozenset(gemini.STYLES),
}
"""How effort can be said, by dialect."""


class BuiltConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, checked and built: all that deciding needs, and nothing that runs."""

    source: ConfigSource
    built: BuiltCatalogue
    router: Router
    warnings: tuple[Mistake, ...]


def site(source: ConfigSource, now: datetime) -> BuiltConfig:
    """Check and build a configuration. Raises ConfigError with every mistake."""
    mistakes = validate.errors(source, frozenset(DIALECTS), STYLES)
    known, clashing = _exemplars(source)
    mistakes += [
        *_zone(source),
        *_struck(source),
        *(one for one in clashing if one.level == "error"),
        *unreachable_rules.errors(source, DIALECTS),
    ]
    rules = RuleSet()
    try:
        rules = compile_rules(source.config.guards, source.config.choices)
    except RuleError as error:
        mistakes += [source.mistake(one.path, f"{one}.", one.hint) for one in error.every]
    if mistakes:
        raise ConfigError(mistakes)
    built = catalogue.build(source, lambda provider, model: list_prices.find(provider, model, now))
    classifier = _classifier(source)
    if classifier is not None and known:
        classifier = ExemplarClassifier(known, classifier, source.config.routing.near)
    router = Router(
        catalogue=built.catalogue,
        rules=rules,
        classifier=classifier,
        conversation=source.config.routing.conversation,
        sure=source.config.routing.seats.sure,
        complete=source.config.routing.complete,
        fetches=_fetches(source.config.media),
    )
    off = frozenset(name for name, provider in built.providers.items() if not provider.on)
    warnings = (
        *validate.warnings(source, now.date(), STYLES, off),
        *unreachable_rules.warnings(source, DIALECTS),
        *lifecycle_warnings.unpriced(source, built.catalogue, there=list_prices.there()),
        *baseline.warnings(source, built),
        *lifecycle_warnings.listed(source, built.catalogue, now.date()),
        *clashing,
    )
    return BuiltConfig(source=source, built=built, router=router, warnings=warnings)


def findings(site: BuiltConfig, callers: Sequence[Key]) -> list[Mistake]:
    """What of a configuration's rules is in vain, and all else that it warns of; in order.

    `callers` are all keys that may call.
    """
    found = [*site.warnings, *unreachable_rules.warnings(site.source, DIALECTS, callers)]
    return sorted(dict.fromkeys(found), key=lambda one: (one.file, one.line or 0))


def adopt(site: BuiltConfig, owned: Mapping[str, Classifier]) -> None:
    """Let classifiers of tenants' own serve them, where what serves everybody was learnt too."""
    whole, own = site.router.classifier, site.router.own
    own.clear()
    if isinstance(whole, ExemplarClassifier) and isinstance(whole.base, LearnedClassifier):
        own.update({tenant: whole.over(one) for tenant, one in owned.items()})
    elif isinstance(whole, LearnedClassifier):
        own.update(owned)


def _exemplars(source: ConfigSource) -> tuple[list[Exemplar], list[Mistake]]:
    """What was taught, and where it contradicts itself."""
    parts = source.config.exemplars
    known = [
        Exemplar(part.name or str(at), part.prompt, part.tier) for at, part in enumerate(parts, 1)
    ]
    found = []
    for one, other, near in clashes(known):
        words = "the same" if near == 1 else "nearly the same"
        message = f"is {words} as {known[one].name!r}, which gets {known[one].tier}."
        found.append(source.mistake(("exemplars", other), message, warn=near < 1))
    return known, found


def _classifier(source: ConfigSource) -> Classifier | None:
    """What scores prompts: the artefact that ships, one of the owner's own, a formula, nothing."""
    name = source.config.routing.classifier
    if name == "off":
        return None
    if name == "prior":
        return HeuristicClassifier()
    file = SHIPPED if name == "learned" else source.file.parent / name
    try:
        return _learned(file.read_bytes())
    except OSError as error:
        message = f"{file} cannot be read: {(error.strerror or '').lower()}."
    except ModelFileError as error:
        message = f"{file} cannot be used: {error}."
    hint = "Make one with `tiergate train`, or take learned, prior or off."
    raise ConfigError([source.mistake(("routing", "classifier"), message, hint)]) from None


_learnt: dict[bytes, LearnedClassifier] = {}
_MOST_LEARNT = 2


def _learned(data: bytes) -> LearnedClassifier:
    """Built once, however often the configuration is read again."""
    name = hashlib.blake2b(data).digest()  # not the file itself, which would be kept
    found = _learnt.get(name)
    if found is None:
        found = LearnedClassifier(model_file.read(data))
        while len(_learnt) >= _MOST_LEARNT:
            _learnt.pop(next(iter(_learnt)), None)  # another thread may have been first
        _learnt[name] = found
    return found


def _fetches(part: MediaPart) -> frozenset[str]:
    return media_fetch.kinds(part.types) if part.fetch == "on" else frozenset()


def _zone(source: ConfigSource) -> list[Mistake]:
    name = source.config.ledger.time_zone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        message = f"no time zone {name!r}."
        return [source.mistake(("ledger", "time_zone"), message, "Write it as Europe/Berlin.")]
    return []


def _struck(source: ConfigSource) -> Iterator[Mistake]:
    for at, pattern in enumerate(source.config.ledger.redact):
        try:
            strike(pattern)
        except ValueError as error:
            yield source.mistake(("ledger", "redact", at), f"{error}.")


def data_folder(environ: Mapping[str, str]) -> Path:
    """Where the gateway writes."""
    return Path(environ.get("TIERGATE_DATA") or "data")


def refusals(site: BuiltConfig, keys: KeyTable, host: str) -> list[Mistake]:
    """What keeps a valid configuration from starting: open beyond this machine, no lab on."""
    source, labs = site.source, site.built.catalogue.labs.values()
    found = []
    if keys.is_open and host not in _LOOPBACK and not source.config.server.open:
        message = f"`keys: open` would let everybody who reaches {host} spend money."
        hint = "Configure keys, or set server.open to true where something else guards it."
        found.append(source.mistake(("server", "host"), message, hint))
    if not any(lab.on for lab in labs):
        whys = ", ".join(f"{lab.name}: {lab.why}" for lab in labs)
        message = f"no lab is on ({whys})." if whys else "no lab is configured."
        found.append(source.mistake(("labs",), message))
    return found


def cautions(site: BuiltConfig, keys: KeyTable, environ: Mapping[str, str]) -> list[Mistake]:
    """Warn of settings that hardly anybody means: open to every web page, keys to be guessed."""
    source = site.source
    server = source.config.server
    found = []
    if 0 < len(environ.get("TIERGATE_ADMIN_KEY", "").strip()) < _GUESSED:
        message = f"is shorter than {_GUESSED} characters: it can be guessed."
        found.append(
            Mistake(level="warning", file="TIERGATE_ADMIN_KEY", message=message, hint=_LONG)
        )
    if 0 < len(source.config.metrics.key) < _GUESSED:
        message = f"is shorter than {_GUESSED} characters: it can be guessed."
        found.append(source.mistake(("metrics", "key"), message, _LONG, warn=True))
    if environ.get("REDIS_URL", "").startswith("rediss") and not source.config.redis.verify:
        message = "lets whoever is on the way read and change what Redis has, and its password."
        hint = "Name the authority of its certificate in REDIS_URL: ?ssl_ca_certs=/path/ca.pem"
        found.append(source.mistake(("redis", "verify"), message, hint, warn=True))
    if keys.is_open and ANY in server.cors:
        message = "lets every web page that a user of this machine opens spend money."
        hint = "Configure keys, or list the origins of your pages."
        found.append(source.mistake(("server", "cors"), message, hint, warn=True))
    if keys.is_open and ANY in server.hosts:
        message = "lets a web page spend money by a name of its own that leads here."
        hint = "Configure keys, or list the names of this gateway."
        found.append(source.mistake(("server", "hosts"), message, hint, warn=True))
    return found


def store_url(url: str, data: Path) -> str:
    """The store's address, a relative SQLite file taken to lie in the data folder."""
    path = url.removeprefix("sqlite:///")
    if path != url and not os.path.isabs(path):  # noqa: PTH117 - a string, not a path yet
        return f"sqlite:///{data / path}"
    return url
