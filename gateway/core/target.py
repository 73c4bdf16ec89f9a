"""Labs, tiers, providers, accounts and targets, as plain values.

The facts of a model (sizes, abilities and restrictions) are data, never branches in code.
"""

import re
from collections.abc import Callable, Collection, Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Literal, get_args

import msgspec

from gateway.core.cloud_auth import CloudAuth
from gateway.core.price import Price

MIN_OUTPUT_CAP = 16
"""The least cap on output that every dialect accepts; the gateway may raise a lower one to it."""
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The scale of effort, from no reasoning to the most."""

_TUNED_PREFIX = "ft:"
"""The beginning of the names of fine-tuned models."""
_SNAPSHOT_SUFFIX = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2}|latest)\Z")

type AnswerMedia = Literal["image", "audio"]
type Sampling = Literal["always", "effort-none", "never"]


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """The facts of one model at one provider. None means unknown, which refuses nothing."""

    context: int | None = None
    """The most tokens of prompt and answer together."""
    max_input: int | None = None
    max_output: int | None = None
    tools: bool | None = None
    forced_tools: bool | None = None
    """True if `tool_choice` may force a tool."""
    vision: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    json_schema: bool | None = None
    answer_media: tuple[AnswerMedia, ...] = ()
    """The media that it answers with beside text."""
    sampling: Sampling = "always"
    """The calls for which the model accepts temperature, top_p and the like."""
    efforts: tuple[str, ...] = ()
    """The values of EFFORTS that the model accepts; empty if it has no such control."""
    effort_style: str | None = None
    """The name of the form in which the model takes effort; None if it has no such control."""
    effort_styles: dict[str, str] = {}
    """The form by dialect, for a model with several dialects."""
    default_effort: str | None = None
    chat_efforts: tuple[str, ...] | None = None
    """The efforts that the model accepts on openai-chat, if fewer than `efforts`."""
    chat_tool_efforts: tuple[str, ...] | None = None
    """The efforts at which openai-chat takes function tools; None means any, empty none."""
    replays_reasoning: bool = False
    """True if the model expects its reasoning back with its tool calls, on openai-chat."""
    refused_members: frozenset[str] = frozenset()
    """The top-level request members that the model answers with 400."""
    retirement_date: date | None = None
    note: str = ""

    def find_effort_style(self, dialect: str) -> str | None:
        """Return the form of effort on a dialect; None if the model has no such control there."""
        return self.effort_styles.get(dialect, self.effort_style)

    @cached_property
    def prompt_window(self) -> int | None:
        """The most tokens of a prompt; None if unknown."""
        return self.max_input or self.context


UNKNOWN_FACTS = ModelFacts()


def base_name(model: str) -> str:
    """Return the name of a model without its snapshot date or `-latest`."""
    return _SNAPSHOT_SUFFIX.sub("", model)


def list_price_names(model: str) -> tuple[str, ...]:
    """Return the names under which the price of a model may stand, the nearest first.

    A fine-tune `ft:gpt-4o-2024-08-06:org::id` has the price of `ft:gpt-4o-2024-08-06`, else that of
    `ft:gpt-4o`. It never has the price of `gpt-4o`: makers bill fine-tunes at other rates.
    """
    tuned_name = ":".join(model.split(":")[:2]) if model.startswith(_TUNED_PREFIX) else model
    return tuple(dict.fromkeys((model, tuned_name, base_name(tuned_name))))


def list_fact_names(model: str) -> tuple[str, ...]:
    """Return the names under which the facts of a model may stand, the nearest first.

    A fine-tune has the facts of the model that it was made from.
    """
    price_names = list_price_names(model)
    if not model.startswith(_TUNED_PREFIX):
        return price_names
    return price_names + tuple(name.removeprefix(_TUNED_PREFIX) for name in price_names)


def find_nearest_effort(effort: str, accepted: tuple[str, ...]) -> str:
    """Return the accepted effort closest to the requested one; of two, the cheaper."""
    rank = EFFORTS.index(effort)
    return min(
        accepted,
        key=lambda candidate: (abs(EFFORTS.index(candidate) - rank), EFFORTS.index(candidate)),
    )


type Tier = Literal["fast", "smart", "reasoning"]
TIERS: tuple[Tier, ...] = get_args(Tier.__value__)
"""The tiers, cheapest first: the index of a tier is its rank."""

type Auth = Literal["bearer", "x-api-key", "api-key", "x-goog-api-key", "none"]

type Balance = Literal["order", "hash", "p2c"]
"""The way to choose among equals.

`order`: the first that can serve. `hash`: by the conversation, so that it stays with its prompt
cache. `p2c`: the less busy and faster of two that are drawn at random ("power of two choices").
"""


class Account(msgspec.Struct, frozen=True):
    """One credential of a provider, or one replica. No repr, log line or row has its secret."""

    name: str
    secret: str
    base_url: str = ""
    """The replica's own address, for URLs of the provider that are only a path; empty if the
    account has no server of its own."""

    def __repr__(self) -> str:
        return f"Account({self.name!r})"


class Timers(msgspec.Struct, frozen=True, kw_only=True):
    """The seconds that an attempt may take, step by step."""

    pool: float = 2.0
    """Seconds until a connection is free."""
    connect: float = 5.0
    """Seconds to connect, with DNS and TLS."""
    headers: float = 60.0
    whole_headers: float | None = None
    """Seconds until the head of a whole answer, which a provider writes before it sends the head.

    None: as `headers`.
    """
    first_content: float = 90.0
    idle: float = 60.0
    total: float = 600.0


DEFAULT_TIMERS: Mapping[str, Timers] = {
    "fast": Timers(
        pool=1.0, headers=20.0, whole_headers=60.0, first_content=30.0, idle=20.0, total=120.0
    ),
    "smart": Timers(whole_headers=300.0),
    "reasoning": Timers(
        headers=300.0, whole_headers=600.0, first_content=600.0, idle=300.0, total=3600.0
    ),
    "embeddings": Timers(),
}
"""The timers by tier; for calls without a tier, by operation.

The head of a whole answer has half of `total`, so that another target has the rest, but at most 10
minutes: proxies before the gateway wait no longer.
"""


def name_timers(tier: Tier | None, operation: str) -> str:
    """Return the name of a call's timers; a model without a tier gets those of reasoning."""
    if tier is not None:
        return tier
    return operation if operation in DEFAULT_TIMERS else "reasoning"


def build_timers(tier: str, *overrides: Mapping[str, float]) -> Timers:
    """Return the timers of a tier with overrides; the last override of a timer wins.

    An override of `headers` alone holds for whole answers too.
    """
    result = DEFAULT_TIMERS[tier]
    for override in overrides:
        if "headers" in override:
            result = msgspec.structs.replace(result, whole_headers=None)
        result = msgspec.structs.replace(result, **override) if override else result
    return result


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP API that serves models: its URLs, dialects, accounts and peculiarities."""

    name: str
    urls: dict[str, str]
    """The whole URLs, by dialect."""
    realtime: dict[str, str] = {}
    """The whole URLs of its WebSockets for sessions, by the form of their messages."""
    endpoint_urls: frozenset[str] = frozenset()
    """The whole URLs before its pass-through endpoints."""
    auth: Auth = "bearer"
    cloud_auth: CloudAuth | None = None
    """The gateway's own identity that it takes in place of a key; None if it takes keys."""
    accounts: tuple[Account, ...] = ()
    """The accounts or replicas, in the order of the configuration."""
    balance: Balance = "order"
    """The way to choose among the accounts."""
    headers: dict[str, str] = {}
    region: str | None = None
    """The region where it processes requests; None if the configuration does not say."""
    max_tokens: Literal["either", "max_tokens", "max_completion_tokens"] = "either"
    """The provider's name for the cap on output."""
    caps_reasoning: bool = True
    """False if that cap leaves reasoning out."""
    stream_usage: Literal["ask", "always"] = "ask"
    """`ask` if the gateway must ask for usage in a stream, with stream_options."""
    finish: Literal["required", "optional"] = "required"
    """`optional` if its answers may end without a reason."""
    refused_members: frozenset[str] = frozenset()
    """The top-level request members that the provider answers with 400."""
    variant: Literal["vertex"] | None = None
    """`vertex` for the Messages API as Google Cloud serves it; None for dialects as they are."""
    media: Literal["url", "data"] = "url"
    """The form of images and files: `data` if the provider opens no URL."""
    counts_tokens: bool = False
    """True if its Responses API counts tokens; other dialects have no such setting."""
    keeps_responses: bool = False
    """True if its Responses API keeps answers, for requests that continue them."""
    batch_price: Decimal | None = None
    """The part of the usual price that a batch costs: 0.5 is half; None if unknown."""
    prompt_cache: float = 300.0
    """Seconds for which its prompt cache keeps an unused prompt."""
    timers: dict[str, Timers] = msgspec.field(default_factory=lambda: dict(DEFAULT_TIMERS))
    """The timers by tier; for calls without a tier, by operation."""
    proxy: str | None = None
    transport: Literal["own", "stock"] = "own"
    """`stock` if something unusual is in front of the provider: HTTP/2 only, a SOCKS proxy."""
    command: tuple[str, ...] = ()
    """The command of a local engine that the gateway starts once, watches and stops."""
    enabled: bool = True
    disabled_reason: str = ""
    """The reason why it is off."""

    def __repr__(self) -> str:
        return f"Provider({self.name!r})"


class TargetGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group of equal targets, which stand together in a tier of a lab."""

    lab: str
    tier: Tier
    label: str
    balance: Balance = "hash"

    @property
    def name(self) -> str:
        """The name in traces, e.g. "mine/smart/qwen"."""
        return f"{self.lab}/{self.tier}/{self.label}"


class Target(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A model at a provider, and how to call it. A tier of a lab is a list of targets."""

    provider: Provider
    model: str
    effort: str | None = None
    max_output: int | None = None
    params: dict[str, object] = {}
    """Members that the gateway adds unchanged, for openai-chat, if the client does not set them."""
    facts: ModelFacts = UNKNOWN_FACTS
    price: Price | None = None
    bound_price: Price | None = None
    """The price that hard budgets reserve if `price` is None; None if they refuse the call."""
    group: TargetGroup | None = None
    weight: float = 1.0
    """The share of its group that it gets, relative to the others."""
    is_listed: bool = True
    """False if no lab lists it: a client named it."""
    lowered_output: int | None = None
    """The cap on the output of one call, below all other bounds; None leaves those."""
    lowered_reason: str = ""
    """Why that cap is lower, for the client."""

    @cached_property
    def output_limit(self) -> int | None:
        """Return the highest cap that the target gets: that of the call, or the model's own."""
        return self.facts.max_output if self.lowered_output is None else self.lowered_output

    @cached_property
    def model_limit(self) -> int | None:
        """The most tokens that the model writes, by its own size; None if unknown."""
        return self.facts.max_output or self.facts.context

    def explain_output_limit(self) -> str:
        """Say why a client's cap on the output is too high."""
        return self.lowered_reason or f"{self.model} allows at most {self.facts.max_output}"

    def find_output_cap(self, requested: int | None) -> int | None:
        """Return the most tokens that the provider lets one choice have; None if unknown.

        `requested` is what the client allows. Without it the gateway sends the target's own cap.
        The model keeps to its `max_output`, or at least to its window. The whole window counts,
        since the length of the prompt is only estimated.
        """
        cap, model_limit = self.max_output if requested is None else requested, self.model_limit
        if requested is not None and 0 < requested < MIN_OUTPUT_CAP:
            cap = MIN_OUTPUT_CAP  # the gateway may raise it to that
        if cap is None or cap <= 0 or (model_limit and model_limit < cap):
            cap = model_limit
        return cap if self.lowered_output is None else self.lowered_output

    def compute_max_output(self, requested: int | None, choices: int) -> int | None:
        """Return the most tokens that an answer may have, all choices together; None if unknown.

        `requested` is what the client allows in each choice.
        """
        cap = self.find_output_cap(requested)
        if not cap:
            return None
        if not self.provider.caps_reasoning:
            cap += self.model_limit or 0
        return cap * max(1, choices)

    def shares_group(self, other: "Target") -> bool:
        """Return True if both are of one group."""
        return self.group is not None and self.group == other.group

    def compute_max_input(self, shown: int | None) -> int | None:
        """Return the most tokens that a prompt may have here; None if unknown.

        `shown` is the most that the request shows, see `gateway.core.prompt_bound`. The model reads
        no more than its window.
        """
        window = self.facts.prompt_window
        return window if shown is None or (window is not None and window < shown) else shown

    @cached_property
    def name(self) -> str:
        """The name in traces and logs, e.g. "openai/gpt-6-luna"."""
        return f"{self.provider.name}/{self.model}"


class Lab(msgspec.Struct, frozen=True, kw_only=True):
    """A maker of models, with three tiers, each an ordered list of targets."""

    name: str
    tiers: dict[Tier, tuple[Target, ...]]
    embeddings: tuple[Target, ...] = ()
    """Targets of embedding models, which have no tier; those of one model are in order."""
    quality: float | None = None
    """The share of quality that its calls keep, see `gateway.core.quality`."""
    fallback: tuple[str, ...] = ()
    """Labs whose targets the gateway tries, in order, after all of its own have failed."""
    about: str = ""
    enabled: bool = True
    disabled_reason: str = ""
    """The reason why it is off."""


class EndpointKey(msgspec.Struct, frozen=True):
    """The place of a target: its lab and its tier."""

    lab: str
    tier: Tier
    target: Target


class Targets:
    """The targets of names that clients choose. Each is made when a client first asks for it."""

    def __init__(self, make: Callable[[str], Target], max_entries: int = 1024) -> None:
        """Keep at most `max_entries`. `make` may take a second, as it may read a price list."""
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
    """A provider that serves models which no lab lists: its own ones, and those that it hosts."""

    provider: Provider
    labs: tuple[str, ...]
    """The labs that use the provider; the first is the lab of its own models."""
    names: tuple[str, ...] = ()
    """Patterns of the names of its own models, see `gateway.core.name_patterns`."""
    hosted_names: tuple[str, ...] = ()
    """Patterns of the names of other makers' models that it hosts."""
    targets: Targets
    """The targets of its models by name."""
    embeddings: Targets | None = None
    """The targets of embedding models by name; None if the provider makes no embeddings."""
    list_known_names: Callable[[], Collection[str]] = tuple
    """Returns names of its models that a price list knows, for suggestions."""

    @property
    def lab(self) -> str:
        """The lab of its own models."""
        return self.labs[0]


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision may choose from, as one immutable value with a version."""

    labs: dict[str, Lab]
    """All labs by name. A lab that is off has the reason in `disabled_reason`."""
    default_lab: str
    default_tier: Tier
    aliases: dict[str, str] = {}
    models: dict[str, tuple[EndpointKey, ...]] = {}
    """Every place of a model, by its own name and by "provider/name", if its provider is on."""
    name_owners: tuple[NameOwner, ...] = ()
    """All providers, on or off, that serve models which no lab lists."""
    families: dict[str, Tier] = {}
    """By prefix of a model's name: its tier if no provider of that model is on."""
    version: str
    """A hash of the configuration, which every row has."""


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
