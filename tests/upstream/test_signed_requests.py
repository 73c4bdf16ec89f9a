"""Requests to providers that take the gateway's own identity: who signs them, and what if not."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import httpx
import pytest

from gateway.core.cloud_auth import AwsAuth, CloudAuth
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import Account, Provider, Timers
from gateway.dialects import OPENAI_CHAT
from gateway.upstream.client import ProviderClient
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.credentials.request_signer import CredentialError
from gateway.upstream.forwarded_request import ForwardedRequest
from gateway.upstream.write_batch import WriteBatch

URL = "https://cloud.invalid/v1/chat"
KEYLESS = Account("main", "")
AWS = AwsAuth(service="bedrock", region="us-east-1")
PROVIDER = Provider(name="acme", urls={"openai-chat": URL}, auth="none", cloud_auth=AWS)


class ScriptedSigner:
    """A signer that signs with what it sees, or fails."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.gate: asyncio.Event | None = None
        """The event that it waits for, if any."""

    async def sign(self, method: str, url: httpx.URL, body: bytes | None) -> list[tuple[str, str]]:
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        size = "streamed" if body is None else str(len(body))
        return [("authorization", f"Signed {method} {url.path} {size}")]


class ScriptedCredentials:
    """Credentials whose signers are one scripted signer."""

    def __init__(self) -> None:
        self.signer = ScriptedSigner()
        self.auths: list[CloudAuth] = []

    def get_signer(self, auth: CloudAuth) -> ScriptedSigner:
        self.auths.append(auth)
        return self.signer


class Stage:
    """A client, its scripted credentials, and the requests that the provider got."""

    def __init__(self, write_batch: WriteBatch | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.credentials = ScriptedCredentials()
        transport = httpx.MockTransport(self._answer)
        self.client = ProviderClient(
            lambda _: transport,
            write_batch=write_batch,
            hop="h",
            credentials=cast("CloudCredentials", self.credentials),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json={})

    async def send(self, timers: Timers | None = None) -> None:
        await self.client.send(PROVIDER, KEYLESS, OPENAI_CHAT, b"{}", {}, timers or Timers())

    async def read_problem(self, timers: Timers | None = None) -> Problem:
        with pytest.raises(ProblemError) as caught:
            await self.send(timers)
        assert self.requests == []
        return caught.value.problem


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.client.close()


@pytest.mark.parametrize("is_forwarded", [False, True])
async def test_a_request_whose_row_is_refused_while_it_waits_for_a_signature_is_not_sent(
    is_forwarded: bool,
) -> None:
    """The journal refuses its row alone; the rows of later requests are written."""
    were_written = [False, True, True]
    batch = WriteBatch(lambda: were_written.pop(0))
    stage = Stage(batch)
    stage.credentials.signer.gate = asyncio.Event()
    request = ForwardedRequest(method="PUT", url=URL, body=b"abc", headers={})
    work = (
        stage.client.forward(PROVIDER, KEYLESS, request, Timers())
        if is_forwarded
        else stage.client.send(PROVIDER, KEYLESS, OPENAI_CHAT, b"{}", {}, Timers())
    )
    call = asyncio.ensure_future(work)
    await asyncio.sleep(0)
    batch.flush()  # for another request
    stage.credentials.signer.gate.set()
    with pytest.raises(ProblemError) as caught:
        await call
    assert (caught.value.problem.kind, stage.requests) == ("ledger", [])
    await stage.client.close()


async def test_each_request_is_signed_anew(stage: Stage) -> None:
    await stage.send()
    await stage.send()
    signatures = [request.headers["authorization"] for request in stage.requests]
    assert signatures == ["Signed POST /v1/chat 2"] * 2
    assert stage.credentials.auths == [AWS, AWS]


async def test_a_forwarded_request_is_signed_and_its_client_cannot_replace_the_signature(
    stage: Stage,
) -> None:
    headers = {"authorization": "Bearer client", "x-own": "1"}
    request = ForwardedRequest(method="PUT", url=URL, body=b"abc", headers=headers)
    await stage.client.forward(PROVIDER, KEYLESS, request, Timers())
    sent = stage.requests[0].headers
    assert sent.get_list("authorization") == ["Signed PUT /v1/chat 3"]
    assert sent["x-own"] == "1"


async def test_the_signer_learns_that_a_body_is_streamed_or_that_there_is_none(
    stage: Stage,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"

    for item in (body(), None):
        request = ForwardedRequest(method="POST", url=URL, body=item)
        await stage.client.forward(PROVIDER, KEYLESS, request, Timers())
    signatures = [request.headers["authorization"] for request in stage.requests]
    assert signatures == ["Signed POST /v1/chat streamed", "Signed POST /v1/chat 0"]


async def test_a_websocket_is_opened_with_a_signature() -> None:
    credentials = ScriptedCredentials()
    client = ProviderClient(credentials=cast("CloudCredentials", credentials))
    route = await client.prepare_upgrade(PROVIDER, KEYLESS, "wss://cloud.invalid/v1/live", {})
    assert ("authorization", "Signed GET /v1/live 0") in route.headers
    await client.close()


async def test_without_a_credential_nothing_is_sent_and_only_the_operator_learns_why(
    stage: Stage,
) -> None:
    stage.credentials.signer.failure = CredentialError("no source has one")
    problem = await stage.read_problem()
    assert (problem.kind, problem.spent) == ("upstream_auth", "no")
    assert problem.message == "The gateway has no credential for acme. Tell its operator."
    assert problem.detail == "no source has one"


async def test_a_credential_that_does_not_come_in_time_ends_the_attempt(stage: Stage) -> None:
    stage.credentials.signer.gate = asyncio.Event()
    problem = await stage.read_problem(Timers(headers=0.0))
    assert (problem.kind, problem.spent) == ("upstream_timeout", "no")
    assert problem.message == "The gateway gets no credential for acme."


async def test_a_client_without_credentials_sends_nothing_unsigned() -> None:
    client = ProviderClient()
    with pytest.raises(ValueError, match="nothing signs requests to acme"):
        await client.send(PROVIDER, KEYLESS, OPENAI_CHAT, b"{}", {}, Timers())
    await client.close()
