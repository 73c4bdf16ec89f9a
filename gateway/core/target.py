"""Labs, tiers, providers, accounts and targets: who can answer, as plain values.

What is known of a model: sizes, abilities and restrictions, as data and never as branches.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import Literal, get_args

import msgspec

from gateway.core.price import Price

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The one scale of effort, from no thinking to all there is."""

_SNAPSHOT_SUFFIX = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)\Z")

type Sampling = Literal["always", "effort-none", "never"]


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Facts of one model at one provider. None is unknown, and the unknown refuses nothing."""

    context: int | None = None
    """Tokens of prompt and answer together."""
    max_input: int | None = None
    max_output: int | None = None
    tools: bool | None = None
    forced_tools: bool | None = None
    """Whether `tool_choice` may force a tool."""
    vision: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    json_schema: bool | None = None
    sampling: Sampling = "always"
    """When temperature, top_p and their like are accepted."""
    efforts: tuple[str, ...] = ()
    """Values of EFFORTS that the model accepts; empty where it has no such control."""
    effort_style: str | None = None
    """How effort is written, by its name in a dialect; None where the model has no such control."""
    effort_styles: dict[str, str] = {}
    """The same by dialect, where a model is reached through several."""
    default_effort: str | None = None
    chat_efforts: tuple[str, ...] | None = None
    """Efforts accepted on openai-chat, where fewer than `efforts`."""
    chat_tool_efforts: tuple[str, ...] | None = None
    """Efforts at which openai-chat takes function tools; None is any, empty is never."""
    replays_reasoning: bool = False
    """Whether it wants its reasoning back with its calls of tools, on openai-chat."""
    refused_members: frozenset[str] = frozenset()
    """Top-level request members that the model answers with 400."""
    retirement_date: date | None = None
    note: str = ""

    def find_effort_style(self, dialect: str) -> str | None:
        """How effort is written on a dialect; None where the model has no such control there."""
        return self.effort_styles.get(dialect, self.effort_style)

    @property
    def prompt_window(self) -> int | None:
        """Tokens of prompt that fit."""
        return self.max_input or self.context


UNKNOWN_FACTS = ModelFacts()


def base_name(model: str) -> str:
    """Return the name of a model without the date of its snapshot, and without `-latest`."""
    return _SNAPSHOT_SUFFIX.sub("", model)


def find_nearest_effort(effort: str, accepted: tuple[str, ...]) -> str:
    """The accepted effort closest to the one asked for; of two as close, the cheaper one."""
    rank = EFFORTS.index(effort)
    return min(
        accepted,
        key=lambda candidate: (abs(EFFORTS.index(candidate) - rank), EFFORTS.index(candidate)),
    )


type Tier = Literal["fast", "smart", "reasoning"]
TIERS: tuple[Tier, ...] = get_args(Tier.__value__)
"""Cheapest first: a tier's place is its rank."""

type Auth = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "none"]


class Account(msgspec.Struct, frozen=True):
    """One credential of a provider. Its secret is in no repr, log line or row."""

    name: str
    secret: str

    def __repr__(self) -> str:
        return f"Account({self.name!r})"


class Timers(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds an attempt may take, step by step."""

    pool: float = 2.0
    """Until a connection is free."""
    connect: float = 5.0
    """DNS and TLS too."""
    headers: float = 60.0
    first_content: float = 90.0
    idle: float = 60.0
    total: float = 600.0


DEFAULT_TIMERS: Mapping[str, Timers] = {
    "fast": Timers(pool=1.0, headers=20.0, first_content=30.0, idle=20.0, total=120.0),
    "smart": Timers(),
    "reasoning": Timers(headers=300.0, first_content=600.0, idle=300.0, total=3600.0),
    "embeddings": Timers(),
}
"""By tier; by operation for what is of no tier."""


def name_timers(tier: Tier | None, operation: str) -> str:
    """Name the timers of a call; a model of no tier may think as long as any."""
    if tier is not None:
        return tier
    return operation if operation in DEFAULT_TIMERS else "reasoning"


def build_timers(tier: str, *overrides: Mapping[str, float]) -> Timers:
    """The timers of a tier, with others in place of some; of several the last stands."""
    result = DEFAULT_TIMERS[tier]
    for override in overrides:
        result = msgspec.structs.replace(result, **override) if override else result
    return result


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP API that serves models: where it is, what it speaks, who pays, how it differs."""

    name: str
    urls: dict[str, str]
    """Whole URL by dialect."""
    auth: Auth = "bearer"
    accounts: tuple[Account, ...] = ()
    """Tried in order."""
    headers: dict[str, str] = {}
    region: str | None = None
    """Where it works on what it is sent; None where nobody has said so."""
    max_tokens: Literal["either", "max_tokens", "max_completion_tokens"] = "either"
    """The name that the provider has for the cap on output."""
    stream_usage: Literal["ask", "always"] = "ask"
    """Whether usage in a stream must be asked for with stream_options."""
    finish: Literal["required", "optional"] = "required"
    """`optional` if its answers may end without a reason why."""
    refused_members: frozenset[str] = frozenset()
    """Top-level request members that the provider answers with 400."""
    media: Literal["url", "data"] = "url"
    """How images and files may be given: `data` where it opens no URL."""
    counts_tokens: bool = False
    """Whether its Responses API counts tokens; of other dialects nobody says so."""
    keeps_responses: bool = False
    """Whether it keeps answers of its Responses API, for requests that go on from them."""
    prompt_cache: float = 300.0
    """Seconds for which it keeps a prompt in its cache that is not used."""
    timers: dict[str, Timers] = msgspec.field(default_factory=lambda: dict(DEFAULT_TIMERS))
    """By tier; by operation for what is of no tier."""
    proxy: str | None = None
    transport: Literal["own", "stock"] = "own"
    """`stock` where something unusual stands before the provider: HTTP/2 only, a SOCKS proxy."""
    command: tuple[str, ...] = ()
    """A local engine that the gateway starts once, watches and stops."""
    enabled: bool = True
    disabled_reason: str = ""
    """Why it is off."""

    def __repr__(self) -> str:
        return f"Provider({self.name!r})"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Provider, model and how to call it: what a tier of a lab is a list of."""

    provider: Provider
    model: str
    effort: str | None = None
    max_output: int | None = None
    params: dict[str, object] = {}
    """Members added as they are, for openai-chat, where the client left them unset."""
    facts: ModelFacts = UNKNOWN_FACTS
    price: Price | None = None
    is_listed: bool = True
    """False if no lab lists it: its name came from a client."""

    def compute_max_output(self, requested: int | None, choices: int) -> int | None:
        """Return the most tokens that its answer may have, all choices together.

        `requested` is what the client allows in each choice. Without it the gateway sends the
        target's own cap. The model keeps to its `max_output`, or at least to its window. The whole
        window counts, since the length of the prompt is only estimated. None if nothing is known.
        """
        per_choice, facts = self.max_output if requested is None else requested, self.facts
        model_limit = facts.max_output or facts.context
        if per_choice is None or per_choice <= 0 or (model_limit and model_limit < per_choice):
            per_choice = model_limit
        return per_choice * max(1, choices) if per_choice else None

    @property
    def name(self) -> str:
        """How traces and logs call it, e.g. "openai/gpt-6-luna"."""
        return f"{self.provider.name}/{self.model}"


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes the models: three tiers, each an ordered list of targets."""

    name: str
    tiers: dict[Tier, tuple[Target, ...]]
    embeddings: tuple[Target, ...] = ()
    """Models that make vectors, of no tier; several targets of one model stand in order."""
    quality: float | None = None
    """The share of quality that its calls keep, see gateway.core.quality."""
    fallback: tuple[str, ...] = ()
    """Labs whose targets are asked where all of its own have failed, in order."""
    about: str = ""
    enabled: bool = True
    disabled_reason: str = ""
    """Why it is off."""


class EndpointKey(msgspec.Struct, frozen=True):
    """Where a model stands: a target of a tier of a lab."""

    lab: str
    tier: Tier
    target: Target


_NAME_PATTERN = re.compile(r"[A-Za-z0-9_@:+.-]+(?:/[A-Za-z0-9_@:+.-]+)*")
"""Characters of a name that no lab lists: it becomes a part of a URL, a header and a row."""
_DOT_SEGMENTS = frozenset({".", ".."})
_MAX_NAME_CHARS = 200
"""Characters of such a name: as many as a row keeps."""


def find_own_name(
    requested: str, patterns: Sequence[str], maker_names: Collection[str]
) -> str | None:
    """Return what a maker calls the model that a client asks for; None where it is not its own.

    In `patterns` of its names `*` stands for anything but a slash, and `!` excludes what follows.
    One of `maker_names` and a slash may stand before the name.
    """
    if (
        len(requested) > _MAX_NAME_CHARS
        or _NAME_PATTERN.fullmatch(requested) is None
        or not _DOT_SEGMENTS.isdisjoint(requested.split("/"))
    ):
        return None
    prefix, _, suffix = requested.partition("/")
    for name in (requested, suffix) if prefix in maker_names else (requested,):
        matching_patterns = [
            pattern for pattern in patterns if _matches(name, pattern.removeprefix("!"))
        ]
        if matching_patterns and not any(pattern.startswith("!") for pattern in matching_patterns):
            return name
    return None


def _matches(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


class Targets:
    """The targets of names that clients choose; each is made when it is first asked for."""

    def __init__(self, make: Callable[[str], Target], max_entries: int = 1024) -> None:
        """`make` may take a second, as it may read a price list first; `max_entries` are kept."""
        self._make = make
        self._max_entries = max_entries
        self._targets_by_name: dict[str, Target] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._targets_by_name

    def __getitem__(self, name: str) -> Target:
        target = self._targets_by_name.get(name)
        if target is None:
            target = self._make(name)
            if len(self._targets_by_name) >= self._max_entries:
                self._targets_by_name.clear()
            self._targets_by_name[name] = target
        return target


class NameOwner(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that owns the names of its models, and serves models that no lab lists."""

    provider: Provider
    lab: str
    names: tuple[str, ...]
    """Patterns of the names, as `find_own_name` reads them."""
    targets: Targets
    """By name."""
    embeddings: Targets | None = None
    """Targets of embedding models by name; None where the provider makes no embeddings."""


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a decision may choose from, as one immutable value with a version."""

    labs: dict[str, Lab]
    """Those that are off too, each with the reason."""
    default_lab: str
    default_tier: Tier
    aliases: dict[str, str] = {}
    models: dict[str, tuple[EndpointKey, ...]] = {}
    """Every place of a model, by its own name and by "provider/name", where its provider is on."""
    name_owners: tuple[NameOwner, ...] = ()
    """All makers, on or off. Of two makers of one name the first that is on serves it."""
    families: dict[str, Tier] = {}
    """By the beginning of a name: the tier it means where no provider of that model is on."""
    version: str
    """Hash of the configuration: stands on every row."""


def index_models(labs: dict[str, Lab]) -> dict[str, tuple[EndpointKey, ...]]:
    """Index the targets of labs that are on by model name and by provider/model."""
    keys_by_name: dict[str, list[EndpointKey]] = {}
    for lab in labs.values():
        for tier in TIERS if lab.enabled else ():
            for target in lab.tiers.get(tier, ()):
                if target.provider.enabled:
                    for name in (target.model, target.name):
                        keys_by_name.setdefault(name, []).append(
                            EndpointKey(lab.name, tier, target)
                        )
    return {name: tuple(keys) for name, keys in keys_by_name.items()}
