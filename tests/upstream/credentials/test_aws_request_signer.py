"""The signer of AWS against a scripted cloud: refreshes, failures, limits, and its signatures."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.core.cloud_auth import AwsAuth
from gateway.upstream.credentials.aws.aws_credential import AwsCredential
from gateway.upstream.credentials.aws.aws_request_signer import make_aws_signer
from gateway.upstream.credentials.request_signer import CredentialError, RequestSigner
from tests.upstream.credentials.aws_cloud import REGION, ROLE, SECRET_MARK, AwsCloud, Clock

HOST = "bedrock-runtime.eu-central-1.amazonaws.com"
TARGET = "/model/anthropic.claude-v1%3A0/invoke-with-response-stream?a=b%20c"
MODEL = httpx.URL(f"https://{HOST}{TARGET}")
BODY = b'{"messages": []}'
HOUR = 3600.0

pytestmark = pytest.mark.jumping_clock


@pytest.fixture
async def cloud() -> AsyncIterator[AwsCloud]:
    cloud = AwsCloud(Clock())
    await cloud.start()
    yield cloud
    await cloud.close()


def make_signer(
    cloud: AwsCloud, environ: dict[str, str] | None = None, *, jitter: float = 0.5
) -> RequestSigner:
    """Return a signer with the role of an instance, unless the environment names another source."""
    return make_aws_signer(
        AwsAuth(service="bedrock", region=REGION),
        environ or {},
        cloud.clock,
        lambda: jitter,
        send=cloud.send,
    )


async def get_key(signer: RequestSigner) -> str:
    """Sign; return the access key id of the signature."""
    headers = dict(await signer.sign("POST", MODEL, BODY))
    return headers["authorization"].partition("Credential=")[2].partition("/")[0]


async def finish_refresh(signer: RequestSigner) -> None:
    """Wait for the refresh that runs."""
    await asyncio.wait([signer._credential._refresh])  # type: ignore[attr-defined]


async def settle() -> None:
    """Let tasks that are ready run to where they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def call_model(cloud: AwsCloud, signer: RequestSigner, body: bytes = BODY) -> httpx.Response:
    """Send a signed request to the cloud's Bedrock, which checks its signature."""
    headers = [("host", HOST), *await signer.sign("POST", MODEL, body)]
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"{cloud.url}{TARGET}", headers=headers, content=body)


@pytest.mark.parametrize("body", [b"", BODY, b"x" * 1_500_000])
async def test_bedrock_takes_the_signature(cloud: AwsCloud, body: bytes) -> None:
    signer = make_signer(cloud)
    cloud.stream_gate.set()
    response = await call_model(cloud, signer, body)
    assert (response.status_code, response.text) == (200, "first last")
    await signer.close()


async def test_a_signature_has_three_headers_and_the_right_names(cloud: AwsCloud) -> None:
    signer = make_signer(cloud)
    headers = await signer.sign("POST", MODEL, BODY)
    assert [name for name, _ in headers] == [
        "x-amz-date",
        "x-amz-security-token",
        "authorization",
    ]
    assert "SignedHeaders=host;x-amz-date;x-amz-security-token, " in headers[2][1]
    await signer.close()


async def test_a_key_without_a_session_has_no_token_header(cloud: AwsCloud) -> None:
    name = cloud.add_key("secret")
    signer = make_signer(cloud, {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": "secret"})
    headers = await signer.sign("POST", MODEL, BODY)
    assert [name for name, _ in headers] == ["x-amz-date", "authorization"]
    cloud.stream_gate.set()
    for _ in range(3):  # days: the signing key of each is another one
        assert (await call_model(cloud, signer)).status_code == 200
        cloud.clock.now += 86_400
    assert cloud.counts["metadata token"] == 0
    await signer.close()


async def test_a_clock_that_is_wrong_is_not_corrected(cloud: AwsCloud) -> None:
    """AWS refuses it; the machine needs NTP."""
    name = cloud.add_key("secret")
    signer = make_aws_signer(
        AwsAuth(service="bedrock", region=REGION),
        {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": "secret"},
        lambda: cloud.clock.now - 301,
        lambda: 0.5,
    )
    for _ in range(2):
        assert (await call_model(cloud, signer)).text == "RequestTimeTooSkewed"
    await signer.close()


async def test_a_body_in_pieces_is_refused_with_what_to_do(cloud: AwsCloud) -> None:
    signer = make_signer(cloud)
    with pytest.raises(CredentialError, match="send it with a content-length"):
        await signer.sign("POST", MODEL, None)
    assert cloud.sent == []
    await signer.close()


async def test_nobody_is_asked_before_a_request_needs_it(cloud: AwsCloud) -> None:
    signer = make_signer(cloud)
    await settle()
    assert cloud.sent == []
    await signer.close()


async def test_two_hundred_calls_at_once_cause_one_fetch(cloud: AwsCloud) -> None:
    signer = make_signer(cloud)
    cloud.is_open.clear()
    calls = asyncio.gather(*(get_key(signer) for _ in range(200)))
    await settle()
    cloud.is_open.set()
    assert len(set(await calls)) == 1
    assert cloud.counts["metadata token"] == 1
    assert len(cloud.keys) == 1
    await signer.close()


@pytest.mark.parametrize(("jitter", "part"), [(0.0, 0.70), (0.5, 0.75), (1.0, 0.80)])
async def test_a_refresh_begins_at_three_quarters_of_a_life(
    cloud: AwsCloud, jitter: float, part: float
) -> None:
    signer = make_signer(cloud, jitter=jitter)
    first = await get_key(signer)
    cloud.clock.now += HOUR * part - 1
    assert await get_key(signer) == first
    await settle()
    assert len(cloud.keys) == 1
    cloud.clock.now += 2
    assert await get_key(signer) == first  # it begins; the old one serves
    await finish_refresh(signer)
    assert await get_key(signer) != first
    assert len(cloud.keys) == 2
    cloud.stream_gate.set()
    assert (await call_model(cloud, signer)).status_code == 200  # on the same day
    await signer.close()


async def test_the_old_credential_serves_while_a_refresh_hangs(cloud: AwsCloud) -> None:
    signer = make_signer(cloud)
    first = await get_key(signer)
    cloud.is_open.clear()
    cloud.clock.now += HOUR * 0.9
    assert {await get_key(signer) for _ in range(200)} == {first}
    await settle()
    cloud.clock.now += HOUR * 0.1 - 6
    assert await get_key(signer) == first
    cloud.clock.now += 2  # four seconds before its end: it might not arrive in time
    waiting = asyncio.create_task(get_key(signer))
    await settle()
    assert not waiting.done()
    cloud.is_open.set()
    assert await waiting != first
    assert cloud.counts["metadata token"] == 2
    await signer.close()


async def test_the_old_credential_serves_to_its_end_while_refreshes_fail(cloud: AwsCloud) -> None:
    signer = make_signer(cloud)
    first = await get_key(signer)
    cloud.answers["metadata token"] = 500, b""
    cloud.clock.now += HOUR * 0.76
    attempts = 0
    while cloud.clock.now < 1_700_000_000 + HOUR - 6:
        assert await get_key(signer) == first
        attempts += 1
        await finish_refresh(signer)
        cloud.clock.now += 100
    cloud.clock.now = 1_700_000_000 + HOUR
    with pytest.raises(CredentialError, match="answers 500"):
        await get_key(signer)
    del cloud.answers["metadata token"]
    cloud.clock.now += 2
    assert await get_key(signer) != first
    assert attempts == 9
    await signer.close()


async def test_a_credential_that_ends_in_mid_stream_does_no_harm(cloud: AwsCloud) -> None:
    """The signature is checked when the request arrives."""
    signer = make_signer(cloud)
    headers = [("host", HOST), *await signer.sign("POST", MODEL, BODY)]
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("POST", f"{cloud.url}{TARGET}", headers=headers, content=BODY) as response,
    ):
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"first "
        cloud.clock.now += HOUR * 2
        cloud.stream_gate.set()
        assert [chunk async for chunk in chunks] == [b"last"]
        assert response.status_code == 200
    assert (await call_model(cloud, signer)).status_code == 200  # with a new credential
    assert len(cloud.keys) == 2
    await signer.close()


async def test_a_web_identity_token_that_was_replaced_on_disk_is_used(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    environ = {"AWS_WEB_IDENTITY_TOKEN_FILE": str(path), "AWS_ROLE_ARN": ROLE}
    signer = make_signer(cloud, environ)
    cloud.web_tokens = {f"{SECRET_MARK}-1"}
    path.write_text(f"{SECRET_MARK}-1", encoding="utf-8")
    await get_key(signer)
    cloud.web_tokens = {f"{SECRET_MARK}-2"}
    path.write_text(f"{SECRET_MARK}-2", encoding="utf-8")
    cloud.clock.now += HOUR
    await get_key(signer)
    assert [form["WebIdentityToken"][-2:] for form in cloud.forms] == ["-1", "-2"]
    assert cloud.counts["metadata token"] == 0
    await signer.close()


@pytest.mark.parametrize(
    ("environ", "seconds", "reason"),
    [
        ({}, 1.0, "does not answer in time to the question for a session token"),
        (
            {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/credentials/task"},
            1.0,
            "container: 127.0.0.1:",
        ),
        (
            {"AWS_PROFILE": "web"},
            5.0,
            "profile: 127.0.0.1:",
        ),
    ],
)
async def test_a_service_that_does_not_answer_is_left_after_its_limit(
    cloud: AwsCloud, tmp_path: Path, environ: dict[str, str], seconds: float, reason: str
) -> None:
    (tmp_path / "token").write_text(f"{SECRET_MARK}-1", encoding="utf-8")
    (tmp_path / "config").write_text(
        f"[profile web]\nrole_arn = {ROLE}\nweb_identity_token_file = {tmp_path / 'token'}\n",
        encoding="utf-8",
    )
    cloud.is_open.clear()
    signer = make_signer(cloud, environ | {"AWS_CONFIG_FILE": str(tmp_path / "config")})
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(CredentialError) as error:
        await get_key(signer)
    assert reason in str(error.value)
    assert seconds <= loop.time() - start < seconds + 0.1
    await signer.close()


async def test_closing_ends_a_refresh_that_runs(cloud: AwsCloud) -> None:
    signer = make_signer(cloud)
    await get_key(signer)
    cloud.is_open.clear()
    cloud.clock.now += HOUR * 0.9
    await get_key(signer)
    await signer.close()
    assert signer._credential._refresh.cancelled()  # type: ignore[attr-defined]


async def test_real_transports_reach_the_endpoints_of_the_environment(cloud: AwsCloud) -> None:
    """Without a detour: instance metadata, then a role by STS."""
    signer = make_aws_signer(
        AwsAuth(service="bedrock", region=REGION, role=ROLE),
        {"AWS_EC2_METADATA_SERVICE_ENDPOINT": cloud.url, "AWS_ENDPOINT_URL_STS": cloud.url},
        cloud.clock,
        lambda: 0.5,
    )
    cloud.stream_gate.set()
    assert (await call_model(cloud, signer)).status_code == 200
    assert (await signer.fetch_status()).identity == "arn:aws:sts::1:assumed-role/gateway/tiergate"
    await signer.close()


def test_what_holds_a_secret_does_not_show_it() -> None:
    credential = AwsCredential(
        access_key_id="AKIA1", secret_access_key=SECRET_MARK, session_token=SECRET_MARK
    )
    assert repr(credential) == "AwsCredential(AKIA1)"
