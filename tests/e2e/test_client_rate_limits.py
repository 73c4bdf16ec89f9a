"""Rate limits as the unmodified SDKs show them: of answers, streams and refusals, in each dialect."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from gateway.core import jsonio
from gateway.server import keepalive
from tests.e2e.four_labs import (
    CHAT,
    DIALECTS,
    ENDPOINTS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    answer,
    four,
    host,
    make_request,
)  # fmt: skip
from tests.e2e.redis_port import Place
from tests.e2e.test_embeddings import openai_answer, two_labs
from tests.e2e.upstream import SSE, Answer, Request, Upstream, failing, whole
from tests.e2e.world import Change, Config, Make, World, chat

type Headers = dict[str, str]

PROVIDERS_OWN = {
    "x-ratelimit-limit-requests": "7777", "x-ratelimit-remaining-requests": "7776",
    "x-ratelimit-reset-requests": "7s", "x-ratelimit-remaining-tokens": "7770",
    "anthropic-ratelimit-requests-limit": "7777", "anthropic-ratelimit-requests-remaining": "7776",
    "anthropic-ratelimit-input-tokens-remaining": "7770", "ratelimit-remaining": "7",
}  # fmt: skip
"""What a provider says of the gateway's account there; no client may see it."""
HOURLY = {"name": "hourly", "requests": "3/h", "tokens": "100k/h"}


def limiting(*limits: Config, **more: Any) -> Change:
    def change(value: Config) -> None:
        four(value)
        value.update({"limits": list(limits), **more})

    return change


def boasting(dialect: str) -> Any:
    """Answer as a host of a dialect that states its own rate limits."""

    def script(request: Request) -> Answer:
        given = host(dialect)(request)
        headers = (*given.headers, *PROVIDERS_OWN.items())
        return Answer(pieces=given.pieces, headers=headers, length=given.length, bill=given.bill)

    return script


@pytest.fixture
def make_limited(make: Make, upstream: Upstream) -> Any:
    def start(*limits: Config, **more: Any) -> World:
        environ = more.pop("environ", {})
        world = make(limiting(*limits, **more), **environ)
        for dialect, endpoint in ENDPOINTS.items():
            upstream.on(endpoint, boasting(dialect))
        return world

    return start


def rates(headers: Mapping[str, str]) -> Headers:
    """Return the headers that speak of rates."""
    return {name.lower(): text for name, text in headers.items() if "ratelimit" in name.lower()}


def ask(
    world: World, dialect: str, *, stream: bool = False, key: str = "k", **more: Any
) -> Headers:
    """Send a call through the SDK of a dialect; return the rate limits that a program reads."""
    model, turns = f"{dialect}/smart", list[Any]([{"role": "user", "content": "Hi"}])
    if dialect == GEMINI:
        return _ask_gemini(world, model, stream=stream)
    raw: Any
    if dialect == MESSAGES:
        with anthropic.Anthropic(base_url=world.url, api_key=key, max_retries=0) as claude:
            raw = claude.messages.with_raw_response.create(
                model=model, max_tokens=9, messages=turns, stream=stream, **more
            )
            return _read(raw, stream=stream)
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key=key, max_retries=0) as gpt:
        if dialect == CHAT:
            raw = gpt.chat.completions.with_raw_response.create(
                model=model,
                messages=turns,
                stream=stream,
                **more,
            )
        else:
            raw = gpt.responses.with_raw_response.create(
                model=model, input="Hi", stream=stream, **more
            )
        return _read(raw, stream=stream)


def _read(raw: Any, *, stream: bool) -> Headers:
    parsed = raw.parse()
    assert not stream or len([*parsed]) > 1
    return rates(raw.headers)


def _ask_gemini(world: World, model: str, *, stream: bool) -> Headers:
    sdk = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=world.url))
    if stream:
        chunks = [*sdk.models.generate_content_stream(model=model, contents="Hi")]
    else:
        chunks = [sdk.models.generate_content(model=model, contents="Hi")]
    sdk.close()
    assert chunks[0].sdk_http_response is not None
    return rates(chunks[0].sdk_http_response.headers or {})


def seconds(duration: str) -> float:
    """Read a duration of OpenAI, as a program would."""
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:([\d.]+)s)?(?:(\d+)ms)?", duration)
    assert match is not None, duration
    units = (3600.0, 60.0, 1.0, 0.001)
    return sum(float(part) * unit for part, unit in zip(match.groups(), units, strict=True) if part)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", [CHAT, RESPONSES])
def test_openai_programs_read_what_is_left(make_limited: Any, dialect: str, stream: bool) -> None:
    """A third of the requests of an hour is back in 20 minutes."""
    world = make_limited(HOURLY)
    first = ask(world, dialect, stream=stream)
    assert set(first) == {
        f"x-ratelimit-{word}-{unit}"
        for word in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    }
    assert first["x-ratelimit-limit-requests"] == "3"
    assert first["x-ratelimit-limit-tokens"] == "100000"
    assert first["x-ratelimit-remaining-requests"] == "2"
    assert 0 < int(first["x-ratelimit-remaining-tokens"]) < 100_000
    assert seconds(first["x-ratelimit-reset-requests"]) == 1_200.0
    assert re.fullmatch(r"[\d.]+s", first["x-ratelimit-reset-tokens"])
    second = ask(world, dialect, stream=stream)
    assert second["x-ratelimit-remaining-requests"] == "1"
    assert 2_380 < seconds(second["x-ratelimit-reset-requests"]) <= 2_400


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_anthropic_programs_read_what_is_left(make_limited: Any, stream: bool) -> None:
    world = make_limited(HOURLY)
    headers = ask(world, MESSAGES, stream=stream)
    assert set(headers) == {
        f"anthropic-ratelimit-{unit}-{word}"
        for word in ("limit", "remaining", "reset")
        for unit in ("requests", "tokens")
    }
    assert headers["anthropic-ratelimit-requests-limit"] == "3"
    assert headers["anthropic-ratelimit-requests-remaining"] == "2"
    assert headers["anthropic-ratelimit-tokens-limit"] == "100000"
    assert 0 < int(headers["anthropic-ratelimit-tokens-remaining"]) < 100_000
    text = headers["anthropic-ratelimit-requests-reset"]
    assert text.endswith("Z")
    wait = datetime.fromisoformat(text) - datetime.now(UTC)
    assert timedelta(minutes=19) < wait < timedelta(minutes=21)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_client_sees_the_limits_of_the_gateways_account(
    make_limited: Any, dialect: str, stream: bool
) -> None:
    """Without a limit on its key there is nothing to show, whatever the provider says."""
    world = make_limited(
        {"name": "few", "concurrency": 9},
        budgets=[{"name": "b", "usd": 9, "every": "day", "hard": False}],
    )
    assert ask(world, dialect, stream=stream) == {}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_translated_answer_has_the_headers_of_the_clients_dialect(
    make_limited: Any, dialect: str
) -> None:
    world = make_limited(HOURLY)
    for lab in DIALECTS:
        path, body = make_request(dialect, f"{lab}/smart")
        headers = rates(world.client.post(path, json=body).headers)
        expected = {GEMINI: set(), MESSAGES: {"anthropic"}}.get(dialect, {"x"})
        assert {name.partition("-")[0] for name in headers} == expected
        assert "7777" not in headers.values()


def test_an_embedding_and_a_cached_answer_have_the_headers(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        two_labs(value)
        value.update({"limits": [HOURLY], "cache": {"default": "embeddings", "ttl": "1h"}})

    world = make(change)
    upstream.on("/acme", openai_answer)
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=0) as sdk:
        create = sdk.embeddings.with_raw_response.create
        replies = [create(model="vec-1", input="Hi") for _ in range(2)]
    assert [reply.headers["x-tiergate-cache"] for reply in replies] == ["miss", "hit"]
    assert [rates(reply.headers)["x-ratelimit-remaining-requests"] for reply in replies] == [
        "2",
        "1",
    ]


def test_the_tightest_of_several_limits_is_shown(make_limited: Any) -> None:
    """At first the limit of a minute has less left; later that of a day."""
    world = make_limited(
        {"name": "day", "requests": "4/d", "tokens": "50k/d"},
        {"name": "minute", "requests": "2/m", "tokens": "900k/m"},
    )
    first = ask(world, CHAT)
    assert first["x-ratelimit-limit-requests"] == "2"
    assert first["x-ratelimit-remaining-requests"] == "1"
    assert seconds(first["x-ratelimit-reset-requests"]) == 30.0
    assert first["x-ratelimit-limit-tokens"] == "50000"
    loose = make_limited({"name": "day", "requests": "2/d"}, {"name": "minute", "requests": "60/m"})
    daily = ask(loose, CHAT)
    assert daily["x-ratelimit-limit-requests"] == "2"
    assert daily["x-ratelimit-reset-requests"] == "12h0m0s"


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_openai_program_reads_a_refusal(make_limited: Any, dialect: str, stream: bool) -> None:
    world = make_limited({"name": "hourly", "requests": "1/h", "tokens": "100k/h"})
    ask(world, dialect)
    with pytest.raises(openai.RateLimitError) as refused:
        ask(world, dialect, stream=stream)
    headers = rates(refused.value.response.headers)
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 3_580 < seconds(headers["x-ratelimit-reset-requests"]) <= 3_600
    assert int(headers["x-ratelimit-remaining-tokens"]) > 90_000
    assert refused.value.response.headers["retry-after"] == "60"


def test_an_anthropic_program_reads_a_refusal(make_limited: Any) -> None:
    """A limit on tokens refuses a call that fits later."""
    world = make_limited({"name": "tokens", "tokens": "3k/m"})
    ask(world, MESSAGES)
    with pytest.raises(anthropic.RateLimitError) as refused:
        ask(world, MESSAGES, system="word " * 11_000)
    headers = rates(refused.value.response.headers)
    assert headers["anthropic-ratelimit-tokens-limit"] == "3000"
    assert 2_900 < int(headers["anthropic-ratelimit-tokens-remaining"]) <= 3_000
    assert "anthropic-ratelimit-requests-limit" not in headers


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_gemini_program_reads_a_refusal_in_its_details(make_limited: Any, stream: bool) -> None:
    """Google has no headers: QuotaFailure names the limit, RetryInfo the time."""
    world = make_limited({"name": "hourly", "requests": "1/h"})
    ask(world, GEMINI)
    with pytest.raises(errors.ClientError) as refused:
        ask(world, GEMINI, stream=stream)
    assert refused.value.code == 429
    assert refused.value.details["error"]["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {"quotaMetric": "tiergate/requests", "quotaId": "hourly", "quotaValue": "1"}
            ],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "60s"},
    ]


def test_a_gemini_program_reads_which_budget_is_spent(make_limited: Any) -> None:
    world = make_limited(budgets=[{"name": "none", "usd": 0, "every": "day"}])
    with pytest.raises(errors.ClientError) as refused:
        ask(world, GEMINI)
    assert refused.value.details["error"]["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaMetric": "tiergate/usd", "quotaId": "none"}],
        }
    ]


def test_an_openai_program_waits_as_long_as_a_refusal_says(
    make_limited: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's own retry takes `retry-after`, and then passes."""
    waits: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", waits.append)
    world = make_limited({"name": "slow", "requests": "1/s"})
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=10**6) as sdk:
        for _ in range(2):
            sdk.chat.completions.create(
                model=f"{CHAT}/smart", messages=[{"role": "user", "content": "Hi"}]
            )
    assert set(waits) <= {1.0}


def test_a_failed_call_has_the_headers_too(make: Make, upstream: Upstream) -> None:
    """The gateway has let it in, and the provider then refuses with limits of its own."""
    world = make(limiting(HOURLY))
    refusal = failing(429)
    headers = (*refusal.headers, *PROVIDERS_OWN.items())
    upstream.on(ENDPOINTS[CHAT], *[Answer(pieces=refusal.pieces, status=429, headers=headers)] * 9)
    with pytest.raises(openai.RateLimitError) as failed:
        ask(world, CHAT)
    assert rates(failed.value.response.headers)["x-ratelimit-remaining-requests"] == "2"
    assert "7777" not in failed.value.response.headers.values()


def test_a_stream_that_waits_has_the_headers_in_its_early_head(
    make: Make, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepalive, "INTERVAL_SECONDS", 0.02)
    world = make(limiting(HOURLY))
    pieces = answer(CHAT, stream=True).pieces
    upstream.on(ENDPOINTS[CHAT], Answer(pieces=pieces, headers=SSE, delay=0.5))
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key="k", max_retries=0) as sdk:
        raw = sdk.chat.completions.with_raw_response.create(
            model=f"{CHAT}/smart", messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        assert "x-tiergate-model" not in raw.headers, "the head came before the answer"
        assert rates(raw.headers)["x-ratelimit-remaining-requests"] == "2"
        assert len([*raw.parse()]) > 1


def test_a_key_sees_its_own_limits_and_not_those_that_other_tenants_share(
    make_limited: Any, tmp_path: Path
) -> None:
    """The shared limit refuses all the same, and tells of no traffic but the key's own."""
    table = {
        name: {"sha256": hashlib.sha256(name.encode()).hexdigest(), "tenant": name}
        for name in ("one", "two")
    }
    table["two"]["limits"] = [{"requests": "9/h"}]  # type: ignore[assignment]  # the table of a key file
    (tmp_path / "keys.yaml").write_bytes(jsonio.dumps(table))
    world = make_limited(
        {"name": "all", "requests": "3/h"},
        {"name": "each", "requests": "5/h", "per": "key"},
        keys=str(tmp_path / "keys.yaml"),
    )
    name = "x-ratelimit-remaining-requests"
    assert [ask(world, CHAT, key=key)[name] for key in ("one", "two", "two")] == ["4", "4", "3"]
    with pytest.raises(openai.RateLimitError) as refused:
        ask(world, CHAT, key="one")
    assert rates(refused.value.response.headers)[name] == "4"
    assert "'all'" in refused.value.message


def test_gateways_on_one_redis_tell_the_same_count(make_limited: Any, place: Place) -> None:
    """The numbers come with Redis's answer to the call; without Redis each process tells its own."""
    environ = {"REDIS_URL": f"redis://127.0.0.1:{place.port}/0"}
    worlds = [make_limited(HOURLY, environ=environ) for _ in range(2)]
    name = "x-ratelimit-remaining-requests"
    assert [ask(world, CHAT)[name] for world in worlds] == ["2", "1"]
    place.kill()
    assert [ask(world, CHAT)[name] for world in worlds] == ["2", "2"]


def test_limits_beside_a_call_at_a_cheaper_tier(make: Make, upstream: Upstream) -> None:
    """A spent budget moves the call; the limit that counts it there is shown."""

    def change(value: Config) -> None:
        value["limits"] = [
            {"name": "smart", "requests": "9/h", "tier": "smart"},
            {"name": "fast", "requests": "7/h", "tier": "fast"},
        ]
        value["budgets"] = [
            {"name": "dear", "usd": 0, "every": "day", "tier": "smart", "then": "fast"}
        ]

    world = make(change)
    upstream.on("/acme", whole())
    reply = world.ask(chat())
    assert reply.headers["x-tiergate-tier"] == "fast"
    assert reply.headers["x-ratelimit-limit-requests"] == "7"
    assert reply.headers["x-ratelimit-remaining-requests"] == "6"
