"""The schema of a configuration, version 1: every key that may be written, and its default.

Unknown keys are errors. Sizes are written as 32MB, durations as 90s, 15m, 1h or 7d.
"""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gateway.core.call import CacheMode, Strategy
from gateway.core.target import Auth, Tier
from gateway.settings.schema.base import (
    STRICT_CONFIG,
    ByteSize,
    CompleteSetting,
    DefaultQualitySetting,
    Duration,
    Effort,
    QualitySetting,
    Word,
    Words,
    wrap_in_list,
)
from gateway.settings.schema.limits import AlertsPart, BudgetPart, LimitPart
from gateway.settings.schema.redis import RedisPart
from gateway.settings.schema.rules import (
    ChoicePart,
    ExemplarPart,
    Fraction,
    GuardPart,
    JudgePart,
    MostPart,
)
from gateway.settings.schema.schedule import WEEKDAYS, HoursText, Weekday
from gateway.settings.schema.server import HedgeDelay, ServerPart, TimerKind, TimersPart


def _parse_switch(value: object) -> object:
    """Empty where something is switched off, in whatever word people have for it."""
    text = str(value).lower() if isinstance(value, bool) else value
    return "" if text in ("false", "no", "off", "0") else text


def _check_day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("must be a date, as 2027-01-14") from None


def _parse_styles(value: object) -> object:
    if not isinstance(value, str | dict):
        raise ValueError("must be a style, or one for each dialect")  # noqa: TRY004 - pydantic's
    return {"": value} if isinstance(value, str) else value


def _check_host(text: str) -> str:
    if not re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?", text.lower()):
        raise ValueError("must be a host, as cdn.example.com, *.example.com or example.com:8443")
    return text.lower()


type Switch = Annotated[str, BeforeValidator(_parse_switch)]
type ClassifierName = Annotated[str, Field(pattern=r"^(learned|prior|off|.*[./].*)$")]
type IsoDate = Annotated[str, AfterValidator(_check_day)]
type HostPattern = Annotated[str, AfterValidator(_check_host)]
type MediaType = Literal[
    "image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf",
    "audio/wav", "audio/mpeg", "audio/flac", "audio/ogg",
]  # fmt: skip
type Usd = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=9)]
type Factor = Annotated[Decimal, Field(ge=0, max_digits=9, decimal_places=6)]
type TokenCount = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """What every part of a configuration has in common."""

    model_config = STRICT_CONFIG


class DefaultPart(Part):
    """Where a call goes that names neither lab nor tier and that nothing else decides."""

    lab: str | None = None
    tier: Tier = "smart"


class SeatsPart(Part):
    """What is remembered of conversations. `ttl: 0s` remembers none."""

    ttl: Duration = 3600.0
    """How long after a conversation's last call."""
    sure: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Probability that a tier does not suffice from which on a conversation goes up."""


class RoutingPart(Part):
    """How decisions are made beyond the rules."""

    classifier: ClassifierName = "learned"
    """A name, or the file of an artefact, seen from the configuration's folder."""
    quality: DefaultQualitySetting | None = None
    """The quality dial: 0 (always fast) to 10 (always reasoning), or `{keep: FRACTION}`.

    Unset it is 5 for the classifier that ships, at labs whose prices are known. Elsewhere, and with
    `off`, the classifier's own thresholds decide.
    """
    quality_reference: Literal["shipped", "own"] = "shipped"
    """The prompts on which a share of quality is kept: a set that ships, or recent own calls."""
    max_share: MostPart = MostPart()
    """What reasoning and smart may have of the turns that it decides."""
    judge: JudgePart | None = None
    """A model that is asked before the classifier decides; off where unset."""
    families: dict[Word, Tier] = {
        "claude-haiku": "fast",
        "claude-sonnet": "smart",
        "claude-opus": "reasoning",
        "claude-fable": "reasoning",
    }
    """Tiers by the beginning of a model's name, for models whose providers are all off."""
    near: Fraction = 0.6
    """How near a turn must be to an exemplar to get its tier."""
    on_loss: Literal["drop-and-tell", "refuse"] = "drop-and-tell"
    conversation: Strategy = "cost-aware"
    """What keeps a conversation where it is."""
    evidence: Literal["on", "off"] = "on"
    """`on`: evidence against the last answer raises a conversation by one tier."""
    seats: SeatsPart = SeatsPart()
    complete: CompleteSetting = "off"
    """What is done where an answer breaks off; `on` is `hold`."""
    hedge: dict[Tier, HedgeDelay] = {}
    """Time without content after which a second target is asked too, by tier."""
    shadow: str | None = None
    """A whole configuration of its own that decides beside this one, without acting."""
    shadow_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The part of the calls that it decides too."""


class RetryPart(Part):
    """Bounds of the waits for a provider, and when another target takes over."""

    preferred_wait: Duration = 3.0
    """The longest wait of a call for its preferred target before another one takes over."""
    preferred_again: Annotated[int, Field(ge=0, le=2)] = 1
    """The times that a call asks its preferred target again before another one takes over."""
    longest_wait: Duration = 20.0
    """The longest wait of a call where no other target can take it now."""


class NearPart(Part):
    """The cache of near questions: the same question in other words."""

    embed: Word
    """The embedding model of a lab that makes the vectors of questions."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.85
    """The least cosine of two questions that share an answer."""
    timeout: Annotated[Duration, Field(gt=0)] = 0.2
    """What a call waits at most."""


class CachePart(Part):
    """Stored answers. `ttl: 0s` turns it off; REDIS_URL moves it to Redis."""

    default: CacheMode = "deterministic"
    """The calls that it serves where no header, guard or key turns more of them on."""
    ttl: Duration = 3600.0
    scope: Literal["key", "tenant", "all"] = "key"
    max_bytes: ByteSize = 64_000_000
    """Memory of the cache in one process."""
    sampled: bool = False
    """Store answers at a temperature above zero too."""
    near: NearPart | None = None
    """Answers of near questions; off where unset."""


class ResponsesPart(Part):
    """Answers that a later request of the ResponsesPart API may go on from."""

    ttl: Duration = 86400.0
    """How long they are kept for labs that keep none themselves; `0s` keeps none."""
    foreign: Literal["pass", "refuse"] | None = None
    """Whether a `previous_response_id` that the gateway has not stored goes to a provider.

    `pass` sends it to a provider that keeps responses; `refuse` answers 404. Unset, it is `refuse`
    where client keys exist, and `pass` where keys are open.
    """


class MediaPart(Part):
    """What is done where a target takes images and files as data, and a request has their URLs."""

    fetch: Literal["off", "on"] = "off"
    """`off`: such a target is skipped; the gateway fetches nothing."""
    max_bytes: ByteSize = 20_000_000
    """Of all that is fetched for one call."""
    timeout: Duration = 10.0
    """Until all of it is here."""
    allow: Annotated[list[HostPattern], BeforeValidator(wrap_in_list)] = []
    """Hosts that may be asked, with a port where it is not 80 or 443; empty is any public one."""
    types: Annotated[list[MediaType], BeforeValidator(wrap_in_list), Field(min_length=1)] = [
        "image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf",
    ]  # fmt: skip
    """What it may be, by its first bytes."""


class LedgerPart(Part):
    """Where the record of calls and their cost is written."""

    journal: str = "ledger"
    store: str = "sqlite:///ledger.db"
    """sqlite:///PATH for one machine, postgresql://... for many."""
    time_zone: str = "UTC"
    baseline: str | None = None
    """What calls are compared with: a tier of their own lab, `lab/tier`, or `provider/model`."""
    durability: Literal["group", "each"] = "group"
    """`each`: a row is on the disk before its provider is called and before its answer ends."""
    on_disk_full: Literal["refuse", "serve"] = "refuse"
    """What becomes of calls whose row cannot be written."""
    keep: Duration = 0.0
    """How long rows stay in the store; `0s` keeps them for ever."""
    keep_journal: Duration = 0.0
    """How long segments stay once the store has all of them; `0s` keeps them for ever."""
    content: Literal["on", "off"] = "off"
    """Whether prompts and answers are kept."""
    keep_content: Duration = 604800.0
    redact: Words = []
    """Regular expressions (RE2) of what is struck out of kept text, beside keys and the like."""


class MetricsPart(Part):
    """Figures for Prometheus at /metrics."""

    keys: bool = False
    """Label them by client key; then they need the admin key."""
    tenants: bool = False
    """Label them by tenant; then they need the admin key."""
    key: Annotated[str, Field(repr=False)] = ""
    """A key that opens them and nothing else, for Prometheus."""
    open: bool = False
    """Answer without a key, also where keys exist and others reach the gateway."""


class TracesPart(Part):
    """Spans by OpenTelemetry's conventions for generative models; off where unset."""

    endpoint: str = ""
    """An OTLP receiver, as http://collector:4318."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of calls."""


class LogPart(Part):
    """What the log on standard error says of calls."""

    calls: Literal["off", "failed", "all"] = "failed"


class ProviderPart(Part):
    """An HTTP API that serves models."""

    base_url: str = ""
    dialects: Annotated[dict[str, str], Field(min_length=1)]
    """All it speaks, each with its path or whole URL."""
    auth: Auth = "bearer"
    accounts: Annotated[dict[str, str], Field(repr=False)] = {}
    """Credentials by name; several are tried in order."""
    optional_key: bool = False
    """Serves without a credential too: self-hosted engines."""
    enable: Switch | None = None
    """On where this is neither empty nor a no: "${VLLM_BASE_URL:-}"."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    region: Word | None = None
    """Where it works on what it is sent, in a word of yours: keys may be held to regions."""
    max_tokens: Literal["either", "max_tokens", "max_completion_tokens"] = "either"
    stream_usage: Literal["ask", "always"] = "ask"
    finish: Literal["required", "optional"] = "required"
    """`optional`: its answers may end without a reason why, and are whole all the same."""
    refuses: Words = []
    media: Literal["url", "data"] = "url"
    """`data`: it takes images and files as data alone, in none of its dialects by URL."""
    counts_tokens: bool = False
    """Its ResponsesPart API counts tokens, at `/input_tokens` below its door."""
    keeps_responses: bool = False
    """Its ResponsesPart API keeps answers, and takes `previous_response_id`."""
    prompt_cache: Duration = 300.0
    """How long its prompt cache keeps a prompt that is not used."""
    timeouts: TimersPart = TimersPart()
    proxy: Annotated[str | None, Field(repr=False)] = None
    transport: Literal["own", "stock"] = "own"
    """`stock` is slower and speaks HTTP/2 and SOCKS (with the extras of these names)."""
    command: list[str] = []
    """A local engine, started once, watched and stopped; its address replaces `base_url`."""
    start: Literal["always", "alone"] = "always"
    """`alone`: only where no other provider is on."""
    embeddings: str | None = None
    """Path or whole URL of embeddings in OpenAI's shape; beside Chat Completions where unset."""
    prices: str | None = None
    """Its name in genai-prices, where that differs."""
    names: Words = []
    """Patterns of its models' names: one that no lab lists is passed to it; `!` excludes."""


class TargetPart(Part):
    """One way to answer: provider, model and how to call it."""

    provider: str | None = None
    """The lab's own name where unset."""
    model: str
    effort: Effort | None = None
    max_output: Annotated[int, Field(ge=1)] | None = None
    params: dict[str, object] = {}


class EmbeddingPart(Part):
    """A model that makes vectors, at one provider."""

    provider: str | None = None
    """The lab's own name where unset."""
    model: str


class LabPart(Part):
    """Three tiers, each a list of targets in order of preference."""

    about: str = ""
    fast: list[TargetPart] = []
    smart: list[TargetPart] = []
    reasoning: list[TargetPart] = []
    quality: QualitySetting | None = None
    """The quality dial of this lab, in place of `routing.quality`."""
    fallback: Words = []
    """Labs that are asked where all targets of the tier have failed, in order."""
    embeddings: list[EmbeddingPart] = []
    """Models that make vectors; targets of the same model stand in order of preference."""


class RatesPart(Part):
    """USD per million tokens."""

    input: Usd | None = None
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_by: dict[str, Usd] = {}
    output: Usd | None = None


class StepPart(RatesPart):
    """Rates of the whole request once its prompt is longer than this."""

    tokens: TokenCount


class HoursPart(RatesPart):
    """Rates at these hours of these days, both in UTC; `above` are their long-context steps."""

    utc: Annotated[list[HoursText], BeforeValidator(wrap_in_list), Field(min_length=1)]
    """Hours of the day, each as 01:00-04:00."""
    days: Annotated[list[Weekday], BeforeValidator(wrap_in_list), Field(min_length=1)] = list(
        WEEKDAYS
    )
    above: list[StepPart] = []


class ServicePart(RatesPart):
    """The price in a service tier: a `factor` of the standard price, or rates of its own."""

    factor: Factor | None = None
    from_: Annotated[dict[IsoDate, Factor], Field(alias="from")] = {}
    """Other factors, from a day on."""
    above: list[StepPart] = []
    hours: list[HoursPart] = []


class DatedPart(RatesPart):
    """A price from a day on, 00:00 UTC: all of it, with its own `above` and `hours`."""

    above: list[StepPart] = []
    hours: list[HoursPart] = []
    services: dict[Word, ServicePart] = {}
    """By the provider's word for a service tier beside its standard one, as `flex`."""
    tools: dict[Word, Usd] = {}
    """USD of one request of a tool of the provider's own, as `web_search`."""


class PricePart(DatedPart):
    """A model's price: `above` long prompts, at certain `hours`, and `from` later days on.

    Service tiers and tools go on from day to day; a later day names those that change.
    """

    from_: Annotated[dict[IsoDate, DatedPart], Field(alias="from")] = {}
    as_text: Annotated[list[Literal["image", "audio", "video"]], BeforeValidator(wrap_in_list)] = [
        "image"
    ]
    """What of a prompt is billed as its text; of all else that is no text the cost is unknown."""
    as_of: str = ""
    """When it was checked; stands on every row it prices."""


class EffortPart(Part):
    """How much a model can be made to think."""

    style: Annotated[dict[str, str], BeforeValidator(_parse_styles), Field(min_length=1)]
    """How it is written: one style, or one for each dialect."""
    accepts: list[Effort] = []
    default: Effort | None = None


class ChatPart(Part):
    """What openai-chat takes of a model that takes more elsewhere."""

    efforts: list[Effort] | None = None
    tools_at: list[Effort] | None = None
    """Efforts at which it takes function tools."""


class ModelPart(Part):
    """Facts, restrictions and price of a model; its key is `model` or `provider/model`."""

    like: str | None = None
    """Another model whose facts these are, but for what is written here."""
    context: TokenCount | None = None
    max_input: TokenCount | None = None
    max_output: TokenCount | None = None
    tools: bool | None = None
    forced_tools: bool | None = None
    vision: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    json_schema: bool | None = None
    sampling: Literal["always", "effort-none", "never"] | None = None
    effort: EffortPart | None = None
    chat: ChatPart | None = None
    replays_reasoning: bool | None = None
    """It wants its reasoning back with its calls of tools, on openai-chat."""
    refuses: Words | None = None
    price: PricePart | None = None
    retires: IsoDate | None = None
    successor: str | None = None
    """What its maker names to move to."""
    note: str = ""


class Config(Part):
    """The whole configuration."""

    version: Literal[1]
    include: list[str] = []
    server: ServerPart = ServerPart()
    default: DefaultPart = DefaultPart()
    aliases: dict[str, str] = {}
    routing: RoutingPart = RoutingPart()
    cache: CachePart = CachePart()
    timeouts: dict[TimerKind, TimersPart] = {}
    """By tier; those of a provider stand before them."""
    retry: RetryPart = RetryPart()
    responses: ResponsesPart = ResponsesPart()
    media: MediaPart = MediaPart()
    ledger: LedgerPart = LedgerPart()
    metrics: MetricsPart = MetricsPart()
    redis: RedisPart = RedisPart()
    traces: TracesPart = TracesPart()
    log: LogPart = LogPart()
    keys: str = "open"
    """`open`, or a file of hashed keys."""
    limits: list[LimitPart] = []
    budgets: list[BudgetPart] = []
    alerts: AlertsPart = AlertsPart()
    on_redis_loss: Literal["local", "closed"] = "local"
    """What becomes of hard budgets while Redis cannot be asked."""
    unknown_output: Annotated[int, Field(ge=1)] | None = None
    """The cap on answers of models of which neither `max_output` nor `context` is known."""
    providers: dict[str, ProviderPart] = {}
    labs: dict[str, LabPart] = {}
    models: dict[str, ModelPart] = {}
    guards: list[GuardPart] = []
    choices: list[ChoicePart] = []
    exemplars: list[ExemplarPart] = []
    """Prompts with the tier that turns near them get."""
