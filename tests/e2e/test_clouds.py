"""Providers in clouds without keys, over real sockets: tokens, their ends, and calls without any."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from urllib.parse import urlsplit

import anthropic
import pytest

from gateway.core import jsonio
from tests.e2e.four_labs import (
    ASKS,
    CHAT,
    COUNTS,
    DIALECTS,
    GEMINI,
    MESSAGES,
    RESPONSES,
    TEXT,
    ParsedAnswer,
    answer,
    four,
)
from tests.e2e.upstream import Answer, Pieces, Request, Upstream, failing
from tests.e2e.world import Change, Config, Make, World
from tests.upstream.credentials.aws_signature_check import Key, check_signature

PROJECT = "/vertex/projects/p/locations/global"
CLAUDE, GOOGLE = f"{PROJECT}/publishers/anthropic", f"{PROJECT}/publishers/google"
ACCOUNT = "/computeMetadata/v1/instance/service-accounts/default"
IMDS = "/metadata/identity/oauth2/token"
FLAVOR = (("metadata-flavor", "Google"),)
CALLERS = 40
HOUR = 3600.0


def clouds(value: Config) -> None:
    """Configure Claude and Gemini on Google Cloud, and Chat Completions on Azure."""
    four(value)
    base = value["providers"][CHAT]["base_url"]
    value["providers"] |= {
        MESSAGES: {
            "base_url": f"{base}{PROJECT}",
            "dialects": {MESSAGES: "/publishers/anthropic/models"},
            "variant": "vertex",
            "auth": "google",
        },
        GEMINI: {
            "base_url": f"{base}{PROJECT}",
            "dialects": {GEMINI: "/publishers/google"},
            "auth": "google",
        },
        CHAT: {"base_url": base, "dialects": {CHAT: "/chat"}, "auth": "azure"},
    }


def on_aws(value: Config) -> None:
    """Configure Chat Completions on AWS, at an address that begins as Bedrock's."""
    clouds(value)
    base = value["providers"][CHAT]["base_url"]
    value["providers"][CHAT] = {
        "base_url": f"{base}/openai/v1",
        "dialects": {CHAT: "/chat/completions"},
        "auth": "aws",
        "aws": {"region": "eu-central-1"},
    }


def spare(value: Config) -> None:
    """Add a target with a key behind that on Google Cloud."""
    value["labs"][MESSAGES]["smart"].append({"provider": RESPONSES, "model": f"m-{RESPONSES}"})


class Metadata:
    """The metadata servers of both clouds: each token has a number, and lives for an hour."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.count = 0
        self.is_held = False
        """True if tokens wait for `World.release`."""
        upstream.on(f"{ACCOUNT}/email", Answer(pieces=(b"gateway@p.example",), headers=FLAVOR))
        upstream.on(f"{ACCOUNT}/token", self._issue)
        upstream.on(IMDS, self._issue)

    @property
    def environ(self) -> dict[str, str]:
        url = self.upstream.url
        return {
            "GCE_METADATA_HOST": urlsplit(url).netloc,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": url,
            "HOME": "/nowhere",
        }

    def _issue(self, request: Request) -> Answer:
        if request.path == IMDS:
            return failing(400)  # it only asks whether somebody is there
        self.count += 1
        token = jsonio.dumps({"access_token": name_token(self.count), "expires_in": HOUR})
        pieces: Pieces = (None, token) if self.is_held else (token,)
        return Answer(pieces=pieces, headers=FLAVOR)


def name_token(number: int) -> str:
    return f"token-{number}-of-a-cloud-never-shown"


class MovingClock:
    """A wall clock that tests move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def metadata(upstream: Upstream) -> Metadata:
    return Metadata(upstream)


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


def make_world(make: Make, metadata: Metadata, clock: MovingClock, *changes: Change) -> World:
    world = make(clouds, *changes, **metadata.environ)
    world.gateway._credentials._wall = clock
    return world


@pytest.fixture
def world(make: Make, metadata: Metadata, clock: MovingClock) -> World:
    return make_world(make, metadata, clock)


def list_requests(upstream: Upstream, prefix: str) -> list[Request]:
    return [request for request in upstream.requests if request.path.startswith(prefix)]


def list_tokens(upstream: Upstream, prefix: str) -> list[str | None]:
    return [request.header("authorization") for request in list_requests(upstream, prefix)]


def bearer(number: int) -> str:
    return f"Bearer {name_token(number)}"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", DIALECTS)
def test_every_client_reaches_claude_on_google_cloud(
    world: World, upstream: Upstream, client: str, stream: bool
) -> None:
    upstream.on(CLAUDE, answer(MESSAGES, stream=stream))
    parsed = ASKS[client](world, f"{MESSAGES}/smart", False, stream)
    assert parsed == ParsedAnswer(text=TEXT, counts=COUNTS)
    (request,) = list_requests(upstream, CLAUDE)
    method = "streamRawPredict" if stream else "rawPredict"
    assert request.path == f"{CLAUDE}/models/m-{MESSAGES}:{method}"
    assert request.header("authorization") == bearer(1)
    assert "model" not in request.json
    # That of the client's own header, or the first one for clients of other dialects.
    version = "2026-10-21" if client == MESSAGES else "vertex-2023-10-16"
    assert request.json["anthropic_version"] == version
    assert world.entry().cost is not None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", DIALECTS)
def test_every_client_reaches_gemini_on_google_cloud(
    world: World, upstream: Upstream, client: str, stream: bool
) -> None:
    upstream.on(GOOGLE, answer(GEMINI, stream=stream))
    parsed = ASKS[client](world, f"{GEMINI}/smart", False, stream)
    assert parsed == ParsedAnswer(text=TEXT, counts=COUNTS)
    (request,) = list_requests(upstream, GOOGLE)
    assert request.path.startswith(f"{GOOGLE}/models/m-{GEMINI}:")
    assert request.header("authorization") == bearer(1)


def test_a_count_of_tokens_reaches_google_cloud(world: World, upstream: Upstream) -> None:
    upstream.on(CLAUDE, Answer(pieces=(b'{"input_tokens": 9}',)))
    client = anthropic.Anthropic(base_url=world.url, api_key="none")
    count = client.messages.count_tokens(
        model=f"{MESSAGES}/smart", messages=[{"role": "user", "content": "Hello."}]
    )
    assert count.input_tokens == 9
    (request,) = list_requests(upstream, CLAUDE)
    assert request.path == f"{CLAUDE}/models/count-tokens:rawPredict"
    assert request.json["model"] == f"m-{MESSAGES}"


def test_a_request_to_azure_has_the_token_of_a_managed_identity(
    world: World, upstream: Upstream
) -> None:
    upstream.on("/chat", answer(CHAT))
    assert ASKS[CHAT](world, f"{CHAT}/smart", False, False).text == TEXT
    assert list_tokens(upstream, "/chat") == [bearer(1)]


@pytest.mark.parametrize("transport", ["own", "stock"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_request_to_aws_has_a_signature_of_all_that_is_sent(
    make: Make, upstream: Upstream, stream: bool, transport: str
) -> None:
    def choose_transport(value: Config) -> None:
        value["providers"][CHAT]["transport"] = transport

    world = make(
        on_aws,
        choose_transport,
        AWS_ACCESS_KEY_ID="AKIDEXAMPLE",
        AWS_SECRET_ACCESS_KEY="secret-of-aws-never-sent",
        AWS_SESSION_TOKEN="session-token-0123456789",
    )
    upstream.on("/openai", answer(CHAT, stream=stream))
    assert ASKS[CHAT](world, f"{CHAT}/smart", False, stream).text == TEXT
    (request,) = list_requests(upstream, "/openai")
    headers = [(name.decode(), value.decode()) for name, value in request.headers]
    keys = {"AKIDEXAMPLE": Key("secret-of-aws-never-sent", "session-token-0123456789", math.inf)}
    error = check_signature(
        (request.method, request.path, headers, request.body),
        keys,
        region="eu-central-1",
        service="bedrock",
        now=time.time(),
    )
    assert error is None


def test_a_model_of_bedrock_is_asked_by_its_id_under_a_signature(
    make: Make, upstream: Upstream
) -> None:
    """Its id has a colon, which AWS encodes once more in signatures than in the path."""
    model = "us.amazon.nova-lite-v1:0"

    def on_converse(value: Config) -> None:
        on_aws(value)
        base = value["providers"][CHAT]["base_url"].removesuffix("/openai/v1")
        value["providers"][CHAT] |= {"base_url": base, "dialects": {"bedrock-converse": ""}}
        value["labs"][CHAT]["smart"] = [{"model": model}]
        value["models"][model] = {"price": {"input": 1, "output": 4}}

    world = make(on_converse, AWS_ACCESS_KEY_ID="AKID", AWS_SECRET_ACCESS_KEY="a-secret-of-aws")
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10},
        "metrics": {"latencyMs": 1},
    }
    upstream.on("/model", Answer(pieces=(jsonio.dumps(answer),)))
    parsed = ASKS[CHAT](world, f"{CHAT}/smart", False, False)
    assert parsed == ParsedAnswer(text=TEXT, counts=COUNTS)
    (request,) = list_requests(upstream, "/model")
    assert request.path == "/model/us.amazon.nova-lite-v1%3A0/converse"
    headers = [(name.decode(), value.decode()) for name, value in request.headers]
    error = check_signature(
        (request.method, request.path, headers, request.body),
        {"AKID": Key("a-secret-of-aws", None, math.inf)},
        region="eu-central-1",
        service="bedrock",
        now=time.time(),
    )
    assert error is None
    assert world.entry().cost is not None


def test_one_token_serves_all_calls_until_three_quarters_of_its_life(
    world: World, upstream: Upstream, metadata: Metadata, clock: MovingClock
) -> None:
    upstream.on(CLAUDE, answer(MESSAGES))
    for seconds in (0.0, 0.6 * HOUR):
        clock.now += seconds
        ASKS[MESSAGES](world, f"{MESSAGES}/smart", False, False)
    assert list_tokens(upstream, CLAUDE) == [bearer(1)] * 2
    assert metadata.count == 1


def test_calls_go_on_with_the_old_token_while_a_refresh_hangs(
    world: World, upstream: Upstream, metadata: Metadata, clock: MovingClock
) -> None:
    upstream.on(CLAUDE, answer(MESSAGES))

    def call(_: int) -> str:
        return ASKS[MESSAGES](world, f"{MESSAGES}/smart", False, False).text

    call(0)
    metadata.is_held = True
    clock.now += 0.9 * HOUR
    with ThreadPoolExecutor(CALLERS) as pool:
        assert list(pool.map(call, range(CALLERS))) == [TEXT] * CALLERS
    assert set(list_tokens(upstream, CLAUDE)) == {bearer(1)}
    assert metadata.count == 2  # all calls share one refresh
    world.release()
    clock.now += 0.2 * HOUR  # the old one has ended
    metadata.is_held = False
    assert call(0) == TEXT
    assert list_tokens(upstream, CLAUDE)[-1] == bearer(2)


def test_a_token_that_ends_in_the_middle_of_a_stream_cuts_nothing(
    world: World, upstream: Upstream, clock: MovingClock
) -> None:
    whole = answer(MESSAGES, stream=True)
    middle = len(whole.pieces) - 3
    pieces = (*whole.pieces[:middle], None, *whole.pieces[middle:])
    upstream.on(CLAUDE, replace(whole, pieces=pieces))
    client = anthropic.Anthropic(base_url=world.url, api_key="none")
    with client.messages.stream(
        model=f"{MESSAGES}/smart", max_tokens=8, messages=[{"role": "user", "content": "Hello."}]
    ) as stream:
        texts = iter(stream.text_stream)
        text = next(texts)
        clock.now += 2 * HOUR
        world.release()
        text += "".join(texts)
    assert text == TEXT
    upstream.on(CLAUDE, answer(MESSAGES))
    ASKS[MESSAGES](world, f"{MESSAGES}/smart", False, False)
    assert list_tokens(upstream, CLAUDE) == [bearer(1), bearer(2)]


def test_a_call_without_a_credential_goes_to_the_next_target(
    make: Make, metadata: Metadata, clock: MovingClock, upstream: Upstream
) -> None:
    world = make_world(make, metadata, clock, spare)
    upstream.on(f"{ACCOUNT}/token", failing(404))
    upstream.on("/responses", answer(RESPONSES))
    assert ASKS[MESSAGES](world, f"{MESSAGES}/smart", False, False).text == TEXT
    assert list_requests(upstream, CLAUDE) == []


def test_a_client_learns_only_that_there_is_no_credential(world: World, upstream: Upstream) -> None:
    upstream.on(f"{ACCOUNT}/token", failing(404))
    response = world.ask(
        {"model": f"{MESSAGES}/smart", "messages": [{"role": "user", "content": "Hi"}]}
    )
    assert response.status_code == 502
    message = response.json()["error"]["message"]
    assert message.startswith(f"The gateway has no credential for {MESSAGES}.")
    assert "127.0.0.1" not in response.text
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in response.text


def test_a_token_that_a_provider_quotes_is_masked(world: World, upstream: Upstream) -> None:
    body = jsonio.dumps({"error": {"message": f"Wrong token: {name_token(1)}.", "code": 400}})
    upstream.on(CLAUDE, failing(400, body))
    response = world.ask(
        {"model": f"{MESSAGES}/smart", "messages": [{"role": "user", "content": "Hi"}]}
    )
    assert response.status_code == 400
    assert "Wrong token: ***." in response.text
    assert name_token(1) not in response.text
