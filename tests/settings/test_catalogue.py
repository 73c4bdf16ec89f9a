"""A configuration as values: what is on and why not, facts, prices, defaults."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.price import Price, PriceStep
from gateway.core.rates import Rates
from gateway.core.target import DEFAULT_TIMERS, UNKNOWN_FACTS, Account, ModelFacts, build_timers
from gateway.settings.catalogue import BuiltCatalogue, find_model
from tests.settings import world

LISTED = Price(rates=Rates(input=Decimal(9), output=Decimal(8)), version="list")

PROVIDER = """\
  {name}:
    base_url: https://{name}.example/
    dialects: {{openai-chat: /chat}}
    {more}
"""


def build(folder: Path, providers: dict[str, str], labs: str, **environ: str) -> BuiltCatalogue:
    parts = [PROVIDER.format(name=name, more=more) for name, more in providers.items()]
    return world.built(folder, f"version: 1\nproviders:\n{''.join(parts)}{labs}", environ)


ONE_TARGET = "labs:\n  acme: {fast: [{model: m}]}\n"
KEY = 'accounts: {main: "${ACME_API_KEY}"}'
BACKUP = 'accounts: {main: "${ACME_API_KEY}", spare: "${ACME_SPARE_KEY}"}'
WITHOUT_KEY = 'enable: "${ACME_URL:-}"\n    auth: none'

ONOFF: list[tuple[str, dict[str, str], bool, str]] = [
    # a provider's part, the environment, True if it is on, the reason if it is off
    (KEY, {"ACME_API_KEY": "k"}, True, ""),
    (KEY, {}, False, "set ACME_API_KEY"),
    (KEY, {"ACME_API_KEY": ""}, False, "set ACME_API_KEY"),
    (KEY, {"ACME_API_KEY": " \n"}, False, "set ACME_API_KEY"),
    ('accounts: {main: "${A_KEY:-${B_KEY:-}}"}', {}, False, "set A_KEY"),
    ('accounts: {main: "${A_KEY:-${B_KEY}}"}', {"B_KEY": "k"}, True, ""),
    (BACKUP, {"ACME_SPARE_KEY": "k"}, True, ""),
    (BACKUP, {}, False, "set ACME_API_KEY"),
    ('accounts: {main: ""}', {}, False, "set an account"),
    ("accounts: {main: literal}", {}, True, ""),
    ("auth: none", {}, True, ""),
    ("optional_key: true\n    " + KEY, {}, True, ""),
    (WITHOUT_KEY, {"ACME_URL": "http://x"}, True, ""),
    (WITHOUT_KEY, {}, False, "set ACME_URL"),
    ("enable: no\n    auth: none", {}, False, "its `enable` is off"),
    ("enable: false\n    auth: none", {}, False, "its `enable` is off"),
    ("enable: yes\n    auth: none", {}, True, ""),
    ("enable: true\n    auth: none", {}, True, ""),
    ('enable: "${ACME:-}"\n    auth: none', {"ACME": "off"}, False, "set ACME"),
    ('enable: "${ACME_URL:-}"\n    ' + KEY, {"ACME_URL": "http://x"}, False, "set ACME_API_KEY"),
]


@pytest.mark.parametrize(("part", "environ", "on", "why"), ONOFF)
def test_a_provider_is_on_if_it_has_what_it_needs(
    tmp_path: Path, part: str, environ: dict[str, str], on: bool, why: str
) -> None:
    built = build(tmp_path, {"acme": part}, ONE_TARGET, **environ)
    provider, lab = built.providers["acme"], built.catalogue.labs["acme"]
    assert (provider.enabled, provider.disabled_reason, lab.enabled, lab.disabled_reason) == (
        on,
        why,
        on,
        why,
    )
    assert bool(built.catalogue.models) == on


TWO_TARGETS = "labs:\n  x:\n    fast: [{provider: a, model: m}, {provider: b, model: m}]\n"


@pytest.mark.parametrize(
    ("parts", "environ", "on", "why"),
    [
        (("accounts: {m: '${A}'}", "accounts: {m: '${B}'}"), {}, False, "set A or B"),
        (("accounts: {m: '${A}'}", "accounts: {m: '${B}'}"), {"B": "k"}, True, ""),
        (("accounts: {m: '${A}'}", "accounts: {m: '${A}'}"), {}, False, "set A"),
        (("accounts: {m: '${A}'}", "enable: no"), {}, False, "set A or its `enable` is off"),
    ],
)
def test_a_lab_is_on_if_one_of_its_providers_is(
    tmp_path: Path, parts: tuple[str, str], environ: dict[str, str], on: bool, why: str
) -> None:
    named = {"a": parts[0], "b": parts[1] if "acc" in parts[1] else parts[1] + "\n    auth: none"}
    lab = build(tmp_path, named, TWO_TARGETS, **environ).catalogue.labs["x"]
    assert (lab.enabled, lab.disabled_reason) == (on, why)


def test_a_lab_without_targets_is_off(tmp_path: Path) -> None:
    lab = build(tmp_path, {"acme": "auth: none"}, "labs:\n  x: {}\n").catalogue.labs["x"]
    assert (lab.enabled, lab.disabled_reason) == (False, "it has no target")


@pytest.mark.parametrize(
    ("environ", "local", "why"),
    [
        ({}, True, ""),
        ({"ACME_API_KEY": "k"}, False, "it starts only where no other provider is on"),
    ],
)
def test_a_provider_with_start_alone_is_off_beside_others(
    tmp_path: Path, environ: dict[str, str], local: bool, why: str
) -> None:
    parts = {"acme": KEY, "local": "auth: none\n    start: alone"}
    labs = "labs:\n  acme: {fast: [{model: m}]}\n  local: {fast: [{model: n}]}\n"
    built = build(tmp_path, parts, labs, **environ)
    assert (built.providers["local"].enabled, built.providers["local"].disabled_reason) == (
        local,
        why,
    )
    assert built.catalogue.default_lab == ("local" if local else "acme")


@pytest.mark.parametrize(
    ("default", "environ", "lab"),
    [
        ("default: {lab: b}", {"A": "k", "B": "k"}, "b"),
        ("default: {lab: b}", {"A": "k"}, "a"),
        ("default: {lab: b}", {}, "b"),
        ("", {"A": "k", "B": "k"}, "a"),
        ("", {"B": "k"}, "b"),
        ("", {}, ""),
    ],
)
def test_the_default_lab_is_the_one_named_or_the_first_that_is_on(
    tmp_path: Path, default: str, environ: dict[str, str], lab: str
) -> None:
    parts = {"a": "accounts: {m: '${A}'}", "b": "accounts: {m: '${B}'}"}
    labs = f"labs:\n  a: {{fast: [{{model: m}}]}}\n  b: {{fast: [{{model: n}}]}}\n{default}\n"
    assert build(tmp_path, parts, labs, **environ).catalogue.default_lab == lab


def test_a_provider_is_built_as_configured(tmp_path: Path) -> None:
    text = """\
version: 1
providers:
  acme:
    base_url: https://acme.example/v1/
    dialects: {openai-chat: /chat, other: "https://else.example/x"}
    auth: x-api-key
    accounts: {one: " k1 ", none: "${NONE}", two: k2}
    headers: {x-a: b}
    max_tokens: max_tokens
    stream_usage: always
    refuses: store
    timeouts: {idle: 1m, total: 2}
    proxy: http://p
    command: [run, it]
  open: {base_url: "https://o", dialects: {openai-chat: /c}, optional_key: true}
labs:
  acme: {about: A lab., fast: [{model: m, max_output: 5, params: {top_k: 3}}]}
"""
    built = world.built(tmp_path, text, {})
    provider = built.providers["acme"]
    assert provider.urls == {
        "openai-chat": "https://acme.example/v1/chat",
        "other": "https://else.example/x",
    }
    assert provider.accounts == (Account("one", "k1"), Account("two", "k2"))
    assert (provider.auth, provider.headers) == ("x-api-key", {"x-a": "b"})
    assert (provider.max_tokens, provider.stream_usage) == ("max_tokens", "always")
    assert provider.refused_members == frozenset({"store"})
    own = {"idle": 60.0, "total": 2.0}
    assert provider.timers == {kind: build_timers(kind, own) for kind in DEFAULT_TIMERS}
    timeouts = "timeouts: {fast: {idle: 3s, pool: 4s}}\n"
    tiers = world.built(tmp_path, text + timeouts, {}).providers["acme"].timers
    assert (tiers["fast"].idle, tiers["fast"].pool, tiers["smart"].pool) == (60.0, 4.0, 2.0)
    assert (provider.proxy, provider.command) == ("http://p", ("run", "it"))
    keyless = built.providers["open"]
    assert (keyless.auth, keyless.accounts, keyless.enabled) == (
        "none",
        (Account("main", ""),),
        True,
    )
    lab = built.catalogue.labs["acme"]
    assert lab.about == "A lab."
    target = lab.tiers["fast"][0]
    assert (target.model, target.max_output, target.params) == ("m", 5, {"top_k": 3})
    assert (target.facts, target.price) == (UNKNOWN_FACTS, None)


FACTS = """\
models:
  base:
    context: 1000
    max_input: 900
    max_output: 100
    tools: true
    forced_tools: false
    vision: true
    files: false
    audio: false
    json_schema: true
    answers: [image]
    sampling: effort-none
    effort: {style: reasoning_effort, accepts: [none, high], default: high}
    chat: {efforts: [none], tools_at: []}
    refuses: [stop]
    retires: 2027-01-14
    note: A note.
    price: {input: 1, output: 2}
  m: {like: base, vision: false, effort: {style: thinking}, refuses: []}
  acme/n: {like: m, price: {input: 3, output: 4, as_of: "2026-11-24"}}
"""


def test_a_model_with_like_has_the_facts_of_the_other_model(tmp_path: Path) -> None:
    labs = "labs:\n  acme: {fast: [{model: base}, {model: m}, {model: n}]}\n"
    built = build(tmp_path, {"acme": "auth: none"}, labs + FACTS)
    base, m, n = built.catalogue.labs["acme"].tiers["fast"]
    assert base.facts == ModelFacts(
        context=1000,
        max_input=900,
        max_output=100,
        tools=True,
        forced_tools=False,
        vision=True,
        files=False,
        audio=False,
        json_schema=True,
        answer_media=("image",),
        sampling="effort-none",
        efforts=("none", "high"),
        effort_style="reasoning_effort",
        default_effort="high",
        chat_efforts=("none",),
        chat_tool_efforts=(),
        refused_members=frozenset({"stop"}),
        retirement_date=date(2027, 1, 14),
        note="A note.",
    )
    for facts in (m.facts, n.facts):
        assert (facts.context, facts.vision, facts.refused_members) == (1000, False, frozenset())
        assert (facts.effort_style, facts.efforts, facts.default_effort) == ("thinking", (), None)
    assert (base.facts.prompt_window, UNKNOWN_FACTS.prompt_window) == (900, None)
    prices = [item.price and item.price.rates.input for item in (base, m, n)]
    assert prices == [Decimal(1), Decimal(1), Decimal(3)]
    assert n.price is not None
    assert n.price.version == "config 2026-11-24"


def test_the_facts_of_a_model_at_a_provider_override_those_of_the_model(tmp_path: Path) -> None:
    text = "version: 1\nmodels:\n  m: {context: 1}\n  acme/m: {context: 2}\n  a: {like: b}\n  b: {like: a}\n"
    models = world.loaded(tmp_path, text).config.models
    parts = [find_model(models, provider, "m") for provider in ("acme", "other")]
    assert [part.context if part else None for part in parts] == [2, 1]
    assert find_model(models, "acme", "unknown") is None
    assert find_model(models, "acme", "a") is not None  # `check` reports circles


def test_a_price_comes_from_the_configuration_else_from_the_list(tmp_path: Path) -> None:
    text = """\
version: 1
providers:
  acme: {base_url: "https://a", dialects: {openai-chat: /c}, auth: none, prices: acme-list}
  off: {base_url: "https://b", dialects: {openai-chat: /c}, accounts: {m: "${NONE}"}}
labs:
  acme:
    fast: [{model: own}, {model: listed}, {model: free}, {model: unknown}]
    smart: [{provider: off, model: listed}]
models:
  own:
    price:
      {input: 1, cache_read: 0.5, cache_write: 2, cache_write_by: {1h: 3}, output: 4,
       above: [{tokens: 200, input: 7}, {tokens: 100, input: 6, output: 8}]}
  free: {price: {input: 0, output: 0}}
"""
    listed = {
        ("acme-list", "listed"): LISTED,
        ("acme", "unknown"): LISTED,
        ("off", "listed"): LISTED,
    }
    tiers = world.built(tmp_path, text, {}, listed).catalogue.labs["acme"].tiers
    assert [item.price for item in tiers["fast"]] == [
        Price(
            rates=Rates(
                input=Decimal(1),
                cache_read=Decimal("0.5"),
                cache_write=Decimal(2),
                cache_write_by={"1h": Decimal(3)},
                output=Decimal(4),
            ),
            steps=(
                PriceStep(100, Rates(input=Decimal(6), output=Decimal(8))),
                PriceStep(200, Rates(input=Decimal(7))),
            ),
            version="config",
        ),
        LISTED,
        Price(rates=Rates(input=Decimal(0), output=Decimal(0)), version="config"),
        None,
    ]
    assert [item.price for item in tiers["smart"]] == [None]


def test_an_unknown_price_is_a_warning(tmp_path: Path) -> None:
    text = world.BASE.replace("price: {input: 3, output: 4}", "vision: true")
    assert [
        str(item).replace(f"{tmp_path}/", "") for item in world.whole(tmp_path, text).warnings
    ] == [
        (
            "c.yaml:10: warning: labs.acme.smart[0].model: the price of acme/large is unknown: "
            "its calls have no cost. Give it one under `models`."
        )
    ]
    assert world.whole(tmp_path, world.BASE).warnings == ()
    assert world.whole(tmp_path, text, {}).warnings == ()  # the provider is off: it has no calls


@pytest.mark.parametrize(
    ("facts", "own", "cap"),
    [
        ("{}", "", 4_000),
        ("{max_output: 100}", "", None),
        ("{context: 8000}", "", None),
        ("{}", ", max_output: 7", 7),
    ],
)
def test_unknown_output_caps_answers_without_another_limit(
    tmp_path: Path, facts: str, own: str, cap: int | None
) -> None:
    text = world.BASE.replace("model: large", f"model: strange{own}")
    text += f"  strange: {facts}\nunknown_output: 4000\n"
    target = world.whole(tmp_path, text).built_catalogue.catalogue.labs["acme"].tiers["smart"][0]
    assert (target.model, target.max_output) == ("strange", cap)


def test_the_list_price_is_looked_up_under_the_name_of_the_provider_in_the_list(
    tmp_path: Path,
) -> None:
    text = world.BASE.replace("model: large", "model: gpt-4o")
    text = text.replace("    accounts:", "    prices: openai\n    accounts:")
    price = (
        world.whole(tmp_path, text).built_catalogue.catalogue.labs["acme"].tiers["smart"][0].price
    )
    assert price is not None
    assert price.version.startswith("genai-prices ")
    assert (price.rates.input, price.rates.output) == (Decimal("2.5"), Decimal(10))
