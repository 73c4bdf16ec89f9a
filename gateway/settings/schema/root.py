"""The schema of a configuration, version 1: every key that may be written, and its default.

Unknown keys are errors. Sizes are written as 32MB, durations as 90s, 15m, 1h or 7d. Durations
become seconds, and sizes become bytes.
"""

import re
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from gateway.core.call import CacheMode, Strategy
from gateway.core.target import Balance, Tier
from gateway.settings.schema.base import (
    STRICT_CONFIG,
    ByteSize,
    CompleteSetting,
    DefaultQualitySetting,
    Duration,
    Effort,
    EscalateSetting,
    QualitySetting,
    Word,
    Words,
    wrap_in_list,
)
from gateway.settings.schema.cloud_auth import (
    AuthSetting,
    AwsAuthPart,
    AzureAuthPart,
    GoogleAuthPart,
)
from gateway.settings.schema.limits import AlertsPart, BudgetPart, LimitPart, UsersPart
from gateway.settings.schema.redis import RedisPart
from gateway.settings.schema.rules import (
    ChoicePart,
    ExemplarPart,
    Fraction,
    GuardPart,
    JudgePart,
    MeaningPart,
    MostPart,
    RoutePart,
)
from gateway.settings.schema.schedule import WEEKDAYS, HoursText, Weekday
from gateway.settings.schema.server import HedgeDelay, ServerPart, TimerKind, TimersPart
from gateway.settings.schema.sign_in import SignInPart
from gateway.settings.schema.tokens import TokenIssuerPart


def _parse_switch(value: object) -> object:
    """Return an empty text for each word that switches something off: false, no, off, 0."""
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


def _check_unit(text: str) -> str:
    """Return the name of a unit as it is. Raises ValueError if no call could have such a unit."""
    if re.fullmatch(r"[a-z][a-z0-9_]*( [a-z0-9.:_-]+)*", text) is None:
        raise ValueError("must be a unit, as image, second or image 1024x1792 hd")
    return text


def _check_host(text: str) -> str:
    if not re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*(:[0-9]{1,5})?", text.lower()):
        raise ValueError("must be a host, as cdn.example.com, *.example.com or example.com:8443")
    return text.lower()


SINK_SCHEMES = ("clickhouse", "s3", "file", "postgresql")
"""The schemes of URLs of the ledger's sinks; each names an engine."""
DATABASE_SCHEMES = ("sqlite:///", "postgresql://", "postgres://")
"""The schemes of databases."""
_STORE_FORMS = "`open`, a file of keys, sqlite:///keys.db or postgresql://user:password@host/name"


type Switch = Annotated[str, BeforeValidator(_parse_switch)]
type ClassifierName = Annotated[str, Field(pattern=r"^(learned|prior|off|.*[./].*)$")]
type IsoDate = Annotated[str, AfterValidator(_check_day)]
type HostPattern = Annotated[str, AfterValidator(_check_host)]
type MediaType = Literal[
    "image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf",
    "audio/wav", "audio/mpeg", "audio/flac", "audio/ogg",
]  # fmt: skip
type Usd = Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=9)]
type UnitName = Annotated[str, AfterValidator(_check_unit)]
"""A unit that a provider bills beside tokens, with its variants: `image 1024x1792 hd`."""
type Factor = Annotated[Decimal, Field(ge=0, max_digits=9, decimal_places=6)]
type TokenCount = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """The base of the parts of a configuration."""

    model_config = STRICT_CONFIG


class DefaultPart(Part):
    """The lab and tier of calls that name neither and that nothing else decides."""

    lab: str | None = None
    tier: Tier = "smart"


class SeatsPart(Part):
    """The memory of conversations: which target serves each. `ttl: 0s` remembers none."""

    ttl: Duration = 3600.0
    """Seconds that the gateway remembers a conversation after its last call."""
    sure: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The probability that a tier does not suffice, from which on a conversation moves up."""


class RoutingPart(Part):
    """Settings of decisions, apart from rules."""

    classifier: ClassifierName = "learned"
    """`learned`, `prior` or `off`, or the file of an artefact, relative to the configuration's
    folder."""
    quality: DefaultQualitySetting | None = None
    """The quality dial: 0 (always fast) to 10 (always reasoning), or `{keep: FRACTION}`.

    Unset, it is 5 for the classifier that ships, at labs whose prices are known. At other labs,
    with other classifiers, and with `off`, the classifier's own thresholds decide.
    """
    quality_reference: Literal["shipped", "own"] = "shipped"
    """The prompts on which the dial keeps a share of quality: a set that ships, or recent own
    calls."""
    max_share: MostPart = MostPart.model_construct()
    """The largest shares of the classifier's turns that reasoning and smart may have."""
    judge: JudgePart | None = None
    """The model that the gateway asks before the classifier decides; unset, it asks none."""
    families: dict[Word, Tier] = {
        "claude-haiku": "fast",
        "claude-sonnet": "smart",
        "claude-opus": "reasoning",
        "claude-fable": "reasoning",
    }
    """Tiers by the beginning of a model's name, for models whose providers are all off."""
    near: Fraction = 0.6
    """The least nearness to an exemplar, 0 to 1, at which a turn gets its tier."""
    meaning: MeaningPart | None = None
    """The embedder that compares meanings where no words are near; unset, words alone count."""
    on_loss: Literal["drop-and-tell", "refuse"] = "drop-and-tell"
    conversation: Strategy = "cost-aware"
    """The affinity strategy: what keeps a conversation on its target."""
    evidence: Literal["on", "off"] = "on"
    """`on`: evidence against the last answer raises a conversation by one tier."""
    seats: SeatsPart = SeatsPart.model_construct()
    complete: CompleteSetting = "off"
    """`hold` lets another target finish an answer that breaks off; `on` is read as `hold`."""
    escalate: EscalateSetting = "off"
    """`checked` asks the tier above once if a free check finds a fault in a whole answer; `watch`
    only notes the fault; `on` is read as `checked`."""
    hedge: dict[Tier, HedgeDelay] = {}
    """Seconds without content after which the gateway also asks a second target, by tier."""
    shadow: str | None = None
    """The file of a candidate: a whole configuration that also decides calls, without effect."""
    shadow_sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The part of the calls that the candidate decides too, 0 to 1."""


class RetryPart(Part):
    """Bounds of the waits for a provider, and of retries before another target takes over."""

    preferred_wait: Duration = 3.0
    """The longest wait of a call, in seconds, for its preferred target before another takes
    over."""
    preferred_again: Annotated[int, Field(ge=0, le=2)] = 1
    """The number of times that a call asks its preferred target again before another takes over."""
    longest_wait: Duration = 20.0
    """The longest wait of a call, in seconds, if no other target can take it now."""


class NearPart(Part):
    """The cache of near questions: the same question in other words."""

    embed: Word
    """The embedding model that makes the vectors of questions; a lab must have it."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.85
    """The least cosine of two questions that share an answer."""
    timeout: Annotated[Duration, Field(gt=0)] = 0.2
    """The longest wait of a call, in seconds, for the answer of a near question."""


class CachePart(Part):
    """The cache of answers. `ttl: 0s` turns it off; REDIS_URL moves it to Redis."""

    default: CacheMode = "deterministic"
    """The calls that the cache serves if no header, guard or key turns it on for more."""
    ttl: Duration = 3600.0
    scope: Literal["key", "tenant", "all"] = "key"
    max_bytes: ByteSize = 64_000_000
    """The memory of one process, in bytes, without Redis. Cached answers, stored responses and
    reasoning notes share it."""
    sampled: bool = False
    """True if the cache also serves calls at a temperature above zero."""
    near: NearPart | None = None
    """Settings for near questions; unset, the cache does not look for them."""


class RealtimePart(Part):
    """Bounds of Realtime and Live sessions, which are WebSockets."""

    max_message: Annotated[ByteSize, Field(ge=1_000)] = 16_000_000
    """The most bytes of one message, all its frames together."""
    idle: Annotated[Duration, Field(gt=0)] = 600.0
    """Seconds without a message from either side after which a session ends."""
    length: Annotated[Duration, Field(gt=0)] = 3600.0
    """Seconds after which a session ends."""
    ping: Annotated[Duration, Field(gt=0)] = 20.0
    """Seconds between pings; a side that is silent for two of them is gone."""


class ResponsesPart(Part):
    """Answers that a later request of the Responses API may continue."""

    ttl: Duration = 86400.0
    """Seconds that the gateway keeps answers for labs that keep none themselves; `0s` keeps
    none."""
    foreign: Literal["pass", "refuse"] | None = None
    """The treatment of a `previous_response_id` that the gateway has not stored.

    `pass` sends it to a provider that keeps responses; `refuse` answers 404. Unset, it is `refuse`
    if client keys exist, and `pass` if keys are open.
    """


class PassThroughPart(Part):
    """Objects at providers that pass-through calls make and name: files, batches, vector stores."""

    foreign: Literal["pass", "refuse"] = "refuse"
    """The treatment of an id that no key has made through the gateway.

    `pass` sends it to the provider; `refuse` answers 404.
    """
    poll: Duration = 300.0
    """Seconds between two looks at jobs that run at providers; `0s` never looks."""
    max_objects: Annotated[int, Field(ge=1)] = 100_000
    """The number of objects of each kind that the gateway remembers for a key, those used last."""


class MediaPart(Part):
    """Images and files that a request has by URL, for targets that take only data."""

    fetch: Literal["off", "on"] = "off"
    """`off`: the gateway fetches nothing, and skips a target that takes only data."""
    max_bytes: ByteSize = 20_000_000
    """The most bytes that the gateway fetches for one call."""
    timeout: Duration = 10.0
    """Seconds until the gateway must have all media of a call."""
    allow: Annotated[list[HostPattern], BeforeValidator(wrap_in_list)] = []
    """Hosts that the gateway may ask, with a port if it is not 80 or 443; empty allows any public
    host."""
    types: Annotated[list[MediaType], BeforeValidator(wrap_in_list), Field(min_length=1)] = [
        "image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf",
    ]  # fmt: skip
    """Media types that the gateway accepts; it reads the type from the first bytes."""


def _check_sink_url(url: str) -> str:
    if not url.startswith(tuple(f"{scheme}://" for scheme in SINK_SCHEMES)):
        raise ValueError(f"must be a URL that begins with one of: {', '.join(SINK_SCHEMES)}")
    return url


type SinkName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
type SinkUrl = Annotated[str, AfterValidator(_check_sink_url)]


class LedgerPart(Part):
    """The ledger: the record of calls and their cost."""

    journal: str = "ledger"
    store: str = "sqlite:///ledger.db"
    """The database: sqlite:///PATH for one machine, postgresql://... for several."""
    sinks: Annotated[dict[SinkName, SinkUrl], Field(repr=False)] = {}
    """Engines that also get each row, by a name of your own: the URL of each."""
    time_zone: str = "UTC"
    baseline: str | None = None
    """The target that calls are compared with: a tier of their own lab, `lab/tier`, or
    `provider/model`."""
    durability: Literal["group", "each"] = "group"
    """`each`: a row is on disk before its provider is called, and before its answer ends."""
    on_disk_full: Literal["refuse", "serve"] = "refuse"
    """The treatment of calls whose row cannot be written: refuse them, or serve them."""
    deliver_on_stop: Duration = 0.0
    """Seconds for which a gateway that stops tries again to give the store and the sinks the rows
    that they lack. `0s`: it tries once."""
    keep: Duration = 0.0
    """Seconds that rows stay in the store; `0s` keeps them for ever."""
    keep_journal: Duration = 0.0
    """Seconds that journal segments stay once the store has all their rows; `0s`: for ever."""
    content: Literal["on", "off"] = "off"
    """`on`: the ledger keeps prompts and answers."""
    keep_content: Duration = 604800.0
    redact: Words = []
    """Regular expressions (RE2). The ledger removes matches from kept text, as it removes keys and
    other secrets."""


class MetricsPart(Part):
    """Metrics for Prometheus at /metrics."""

    keys: bool = False
    """True if metrics have a label for the client key; /metrics then needs the admin key."""
    tenants: bool = False
    """True if metrics have a label for the tenant; /metrics then needs the admin key."""
    teams: bool = False
    """True if metrics have a label for the team; /metrics then needs the admin key."""
    key: Annotated[str, Field(repr=False)] = ""
    """A key for Prometheus that opens /metrics and nothing else."""
    open: bool = False
    """True if /metrics needs no key, even if keys exist and others can reach the gateway."""


class OtlpPart(Part):
    """Traces, metrics and logs in OpenTelemetry's conventions for generative models."""

    endpoint: str = ""
    """The URL of an OTLP receiver (HTTP), such as http://collector:4318; none of it without."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    signals: Annotated[
        list[Literal["traces", "metrics", "logs"]], BeforeValidator(wrap_in_list)
    ] = ["traces", "metrics", "logs"]
    """What the gateway sends. `traces.endpoint` sends traces elsewhere."""


class TracesPart(Part):
    """Spans in OpenTelemetry's conventions for generative models; off without an endpoint."""

    endpoint: str = ""
    """The URL of an OTLP receiver, such as http://collector:4318."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of calls that have spans, 0 to 1."""


class LogPart(Part):
    """The log of calls on standard error."""

    calls: Literal["off", "failed", "all"] = "failed"


class KeysPart(Part):
    """The keys of clients."""

    store: str = "open"
    """`open`, the path of a file of hashed keys, or a database: sqlite:///PATH for one machine,
    postgresql://... for several."""
    stale: Duration = 3600.0
    """Seconds for which known keys stay valid while the database does not answer."""

    @field_validator("store")
    @classmethod
    def _check_store(cls, text: str) -> str:
        if "://" in text and not text.startswith(DATABASE_SCHEMES):
            raise ValueError(f"must be {_STORE_FORMS}")
        return text

    @model_validator(mode="before")
    @classmethod
    def _accept_text(cls, value: object) -> object:
        if isinstance(value, str):
            return {"store": value}
        if not isinstance(value, dict | KeysPart):
            raise ValueError(  # noqa: TRY004 - pydantic reports ValueErrors only
                f"must be {_STORE_FORMS}; or a mapping with `store` and `stale`"
            )
        return value


class ProviderPart(Part):
    """An HTTP API that serves models."""

    base_url: str = ""
    replicas: Words = []
    """The base URLs of equal servers, each with its own health; they replace `base_url`."""
    balance: Balance | None = None
    """The way to choose among its accounts or replicas. Unset, it is `hash` for replicas and
    `order` for accounts."""
    dialects: dict[str, str] = {}
    """The dialects that the provider speaks, each with its path or whole URL.

    Only a provider with `endpoints` may do without."""
    endpoints: dict[str, str] = {}
    """The tables of its endpoints beside text and embeddings, which the gateway passes through.

    Each has the path or whole URL that comes before its paths; empty is `base_url` itself. The name
    of an API, `openai`, stands for all of its tables."""
    auth: AuthSetting = "bearer"
    """The header of the key; with `aws`, `google` or `azure` the gateway's own identity in that
    cloud takes the place of a key."""
    aws: AwsAuthPart = AwsAuthPart.model_construct()
    google: GoogleAuthPart = GoogleAuthPart.model_construct()
    azure: AzureAuthPart = AzureAuthPart.model_construct()
    accounts: Annotated[dict[str, str], Field(repr=False)] = {}
    """Credentials by name. The gateway chooses among several by `balance`."""
    optional_key: bool = False
    """True if the provider also serves without a credential, as self-hosted engines do."""
    enable: Switch | None = None
    """A value such as "${VLLM_BASE_URL:-}": the provider is on unless it is empty or says no."""
    headers: Annotated[dict[str, str], Field(repr=False)] = {}
    region: Word | None = None
    """The region in which the provider works on requests, in a word that you choose. A key can be
    limited to regions."""
    max_tokens: Literal["either", "max_tokens", "max_completion_tokens"] = "either"
    caps_reasoning: bool = True
    stream_usage: Literal["ask", "always"] = "ask"
    finish: Literal["required", "optional"] = "required"
    """`optional`: answers may end without a finish reason and are still complete."""
    refuses: Words = []
    variant: Literal["vertex"] | None = None
    """`vertex`: its Messages API is that of Google Cloud, with the model in the path."""
    media: Literal["url", "data"] = "url"
    """`data`: the provider takes images and files only as data, and by URL in no dialect."""
    counts_tokens: bool = False
    """True if its Responses API counts tokens, at `/input_tokens` below its URL."""
    keeps_responses: bool = False
    """True if its Responses API keeps answers and accepts `previous_response_id`."""
    batch_price: Annotated[Decimal | None, Field(ge=0, le=1)] = None
    """What its batches cost of the usual price: `0.5` is half. Unset, their cost is unknown."""
    prompt_cache: Duration = 300.0
    """Seconds that its prompt cache keeps a prompt that nobody uses."""
    timeouts: TimersPart = TimersPart.model_construct()
    proxy: Annotated[str | None, Field(repr=False)] = None
    transport: Literal["own", "stock"] = "own"
    """`stock` is slower, and speaks HTTP/2 and SOCKS (with the extras `http2` and `socks`)."""
    command: list[str] = []
    """The command of a local engine. The gateway starts it once, watches it and stops it; the
    engine's address replaces `base_url`."""
    start: Literal["always", "alone"] = "always"
    """`alone`: the provider is on only if no other provider is."""
    embeddings: str | None = None
    """The path or whole URL of embeddings in OpenAI's shape. Unset, it is derived from the URL of
    Chat Completions."""
    realtime: dict[Literal["openai", "gemini"], str] = {}
    """The path or whole URL of WebSocket sessions, by the form of their messages: OpenAI's Realtime
    API, or Google's Live API, whose path goes on with the name of its service."""
    prices: str | None = None
    """The provider's name in genai-prices, if it differs from its name here."""
    names: Words = []
    """Patterns of the names of models that it makes. The gateway passes a matching model that no
    lab lists to this provider; `!` excludes."""
    hosted_names: Words = []
    """Patterns of the names of other makers' models that it hosts. They count if no maker of the
    model is on; `!` excludes."""

    @property
    def path_prefix(self) -> str:
        """The beginning of its paths; empty if each replica has an address of its own."""
        return "" if self.replicas else self.base_url.rstrip("/")

    @model_validator(mode="after")
    def _check_use(self) -> Self:
        if not self.dialects and not self.endpoints:
            raise ValueError("has neither `dialects` nor `endpoints`")
        return self


class TargetPart(Part):
    """A target: a provider, one of its models, and how to call it."""

    provider: str | None = None
    """The provider's name; unset, it is the name of the lab."""
    model: str
    effort: Effort | None = None
    max_output: Annotated[int, Field(ge=1)] | None = None
    params: dict[str, object] = {}
    group: Word | None = None
    """A name that equal targets of a tier share."""
    weight: Annotated[float, Field(gt=0, le=1000)] | None = None
    """The share of its group that it gets, relative to the others. Unset, it is 1."""


class GroupPart(Part):
    """The settings of a group of equal targets."""

    balance: Balance = "hash"


class EmbeddingPart(Part):
    """An embedding model at one provider."""

    provider: str | None = None
    """The provider's name; unset, it is the name of the lab."""
    model: str


class LabPart(Part):
    """A lab: three tiers, each a list of targets in order of preference."""

    about: str = ""
    fast: list[TargetPart] = []
    smart: list[TargetPart] = []
    reasoning: list[TargetPart] = []
    groups: dict[Word, GroupPart] = {}
    """Settings of groups of equal targets, by name."""
    quality: QualitySetting | None = None
    """The quality dial of this lab; it replaces `routing.quality`."""
    fallback: Words = []
    """Labs that the gateway asks in order if all targets of the tier have failed."""
    embeddings: list[EmbeddingPart] = []
    """Embedding models. Targets of the same model stand in order of preference."""


class MediaRatesPart(Part):
    """Rates of the tokens of one modality, in USD per million tokens."""

    input: Usd | None = None
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    cache_write_by: dict[str, Usd] = {}
    output: Usd | None = None


class RatesPart(MediaRatesPart):
    """Rates in USD per million tokens, of text and of media that cost otherwise."""

    reasoning: Usd | None = None
    """The rate of reasoning, if it differs from `output`."""
    audio: MediaRatesPart | None = None
    image: MediaRatesPart | None = None
    video: MediaRatesPart | None = None


class StepPart(RatesPart):
    """Rates of the whole request if its prompt has more than `tokens` tokens."""

    tokens: TokenCount


class HoursPart(RatesPart):
    """Rates at some hours of some days, both in UTC; `above` has their long-context steps."""

    utc: Annotated[list[HoursText], BeforeValidator(wrap_in_list), Field(min_length=1)]
    """Hours of the day, each written as 01:00-04:00."""
    days: Annotated[list[Weekday], BeforeValidator(wrap_in_list), Field(min_length=1)] = list(
        WEEKDAYS
    )
    above: list[StepPart] = []


class ServicePart(RatesPart):
    """The price in a service tier: a `factor` of the standard price, or rates of its own."""

    factor: Factor | None = None
    from_: Annotated[dict[IsoDate, Factor], Field(alias="from")] = {}
    """Later factors, by the day on which each begins."""
    above: list[StepPart] = []
    hours: list[HoursPart] = []
    units: dict[UnitName, Usd] = {}
    """USD of units in this tier, if it has no `factor`."""


class DatedPart(RatesPart):
    """A whole price from a day on, 00:00 UTC, with its own `above` and `hours`."""

    above: list[StepPart] = []
    hours: list[HoursPart] = []
    services: dict[Word, ServicePart] = {}
    """Prices by the provider's word for a service tier besides its standard one, such as `flex`."""
    tools: dict[Word, Usd] = {}
    """USD for one request of a provider's own tool, such as `web_search`, or for one token of a
    model that works as a tool, such as `claude-opus-5:input`."""
    units: dict[UnitName, Usd] = {}
    """USD for one unit beside tokens, such as `image`, `second` or `image 1024x1792 hd`."""


class PricePart(DatedPart):
    """The price of a model. `above` is for long prompts, `hours` for times, `from` for later days.

    Service tiers, tools and units stay in force from day to day; a later day names the ones that
    change.
    """

    from_: Annotated[dict[IsoDate, DatedPart], Field(alias="from")] = {}
    as_text: Annotated[list[Literal["image", "audio", "video"]], BeforeValidator(wrap_in_list)] = [
        "image"
    ]
    """Media in a prompt that the provider bills as text, unless they have rates of their own. With
    other tokens that are not text, the cost of a call is unknown."""
    as_of: str = ""
    """The day on which somebody checked the price; every row that it prices shows it."""


class EffortPart(Part):
    """The control of effort: how much a model thinks."""

    style: Annotated[dict[str, str], BeforeValidator(_parse_styles), Field(min_length=1)]
    """The style in which a request writes the effort: one style, or one for each dialect."""
    accepts: list[Effort] = []
    default: Effort | None = None


class ChatPart(Part):
    """Limits of a model on openai-chat that it does not have on other dialects."""

    efforts: list[Effort] | None = None
    tools_at: list[Effort] | None = None
    """Efforts at which the model takes function tools; an empty list means none."""


class ModelPart(Part):
    """Facts, restrictions and price of a model. The key is `model` or `provider/model`."""

    like: str | None = None
    """The name of a model whose facts apply unless they are written here."""
    context: TokenCount | None = None
    max_input: TokenCount | None = None
    max_output: TokenCount | None = None
    tools: bool | None = None
    forced_tools: bool | None = None
    vision: bool | None = None
    files: bool | None = None
    audio: bool | None = None
    json_schema: bool | None = None
    answers: list[Literal["image", "audio"]] | None = None
    """The media that it answers with beside text."""
    sampling: Literal["always", "effort-none", "never"] | None = None
    effort: EffortPart | None = None
    chat: ChatPart | None = None
    replays_reasoning: bool | None = None
    """True if the model expects its reasoning back with tool results (openai-chat)."""
    refuses: Words | None = None
    price: PricePart | None = None
    retires: IsoDate | None = None
    successor: str | None = None
    """The model that its maker recommends after it retires."""
    note: str = ""


class UnknownPricePart(Part):
    """Rates in USD per million tokens that hard budgets reserve where a model has no price.

    They bound what a call may cost. Its cost stays unknown, and it stays charged with them.
    """

    input: Usd
    output: Usd


class Config(Part):
    """The whole configuration."""

    version: Literal[1]
    include: list[str] = []
    server: ServerPart = ServerPart.model_construct()
    default: DefaultPart = DefaultPart.model_construct()
    aliases: dict[str, str] = {}
    routing: RoutingPart = RoutingPart.model_construct()
    cache: CachePart = CachePart.model_construct()
    timeouts: dict[TimerKind, TimersPart] = {}
    """Timers by tier; those of a provider win over them."""
    retry: RetryPart = RetryPart.model_construct()
    responses: ResponsesPart = ResponsesPart.model_construct()
    passthrough: PassThroughPart = PassThroughPart.model_construct()
    realtime: RealtimePart = RealtimePart.model_construct()
    media: MediaPart = MediaPart.model_construct()
    ledger: LedgerPart = LedgerPart.model_construct()
    metrics: MetricsPart = MetricsPart.model_construct()
    redis: RedisPart = RedisPart.model_construct()
    traces: TracesPart = TracesPart.model_construct()
    otlp: OtlpPart = OtlpPart.model_construct()
    log: LogPart = LogPart.model_construct()
    keys: KeysPart = KeysPart.model_construct()
    """The keys of clients; a text is `keys.store`."""
    tokens: list[TokenIssuerPart] = []
    """Identity providers whose tokens clients may send in place of a key."""
    sign_in: SignInPart | None = None
    """The identity provider by which people sign in to the dashboard."""
    limits: list[LimitPart] = []
    budgets: list[BudgetPart] = []
    users: UsersPart = UsersPart.model_construct()
    alerts: AlertsPart = AlertsPart.model_construct()
    on_redis_loss: Literal["lease", "closed"] = "lease"
    """The treatment of hard budgets while Redis is unreachable: spend what is leased and then
    refuse, or refuse at once."""
    unknown_output: Annotated[int, Field(ge=1)] | None = None
    """The cap in tokens on answers of models without a known `max_output` or `context`."""
    unknown_price: UnknownPricePart | None = None
    """The price that hard budgets reserve for a model without a price; unset, they refuse its
    calls."""
    providers: dict[str, ProviderPart] = {}
    labs: dict[str, LabPart] = {}
    models: dict[str, ModelPart] = {}
    guards: list[GuardPart] = []
    choices: list[ChoicePart] = []
    exemplars: list[ExemplarPart] = []
    """Prompts, each with the tier that turns near it get."""
    routes: list[RoutePart] = []
    """Descriptions of kinds of requests, each with the tier that such turns get."""
