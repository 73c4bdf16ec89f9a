"""Access tokens of Entra ID: the sources in their order, and what each says when it fails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.core.cloud_auth import AzureAuth
from gateway.upstream.credentials.azure_credentials import make_azure_signer
from gateway.upstream.credentials.request_signer import CredentialError, RequestSigner
from tests.upstream.credentials.clocks import SetClock
from tests.upstream.credentials.scripted_cloud import CLIENT_SECRET, Answer, ScriptedCloud

SCOPE = "https://cognitiveservices.azure.com/.default"
NOW = 1_800_000_000.0
IMDS_PATH = "/metadata/identity/oauth2/token"
ENTRA_PATH = "/tenant-1/oauth2/v2.0/token"


def make(environ: Mapping[str, str], wall: SetClock | None = None, **auth: Any) -> RequestSigner:
    return make_azure_signer(
        AzureAuth(scope=SCOPE, **auth), environ, wall or SetClock(NOW), lambda: 0.5
    )


def set_secret(cloud: ScriptedCloud) -> dict[str, str]:
    return {
        "AZURE_AUTHORITY_HOST": f"{cloud.url}/",
        "AZURE_TENANT_ID": "tenant-1",
        "AZURE_CLIENT_ID": "client-1",
        "AZURE_CLIENT_SECRET": CLIENT_SECRET,
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url,
    }


def set_federation(cloud: ScriptedCloud, path: Path) -> dict[str, str]:
    path.write_text(f"{cloud.assertion}\n")
    environ = set_secret(cloud)
    del environ["AZURE_CLIENT_SECRET"]
    return {**environ, "AZURE_FEDERATED_TOKEN_FILE": str(path)}


async def sign(signer: RequestSigner) -> list[tuple[str, str]]:
    return await signer.sign("POST", httpx.URL("https://r.openai.azure.com/x"), b"{}")


async def fail(signer: RequestSigner) -> str:
    with pytest.raises(CredentialError) as caught:
        await sign(signer)
    assert CLIENT_SECRET not in str(caught.value)
    return str(caught.value)


async def test_a_client_secret_gives_a_token(cloud: ScriptedCloud) -> None:
    signer = make(set_secret(cloud))
    assert await sign(signer) == [("authorization", "Bearer cognitiveservices.azure.com-token-1")]
    status = await signer.fetch_status()
    assert (status.source, status.identity) == ("Azure, client secret", "client-1")
    assert status.expires_at == NOW + 3600
    assert cloud.requests[0].form == {
        "grant_type": "client_credentials",
        "client_id": "client-1",
        "client_secret": CLIENT_SECRET,
        "scope": SCOPE,
    }
    assert cloud.paths == [ENTRA_PATH]  # one request, and none for metadata
    await signer.close()


async def test_settings_win_over_the_environment(cloud: ScriptedCloud) -> None:
    environ = {**set_secret(cloud), "AZURE_TENANT_ID": "other", "AZURE_CLIENT_ID": "other"}
    await sign(make(environ, tenant="tenant-1", client="client-1"))


async def test_entra_is_asked_through_the_proxy_at_its_own_host(cloud: ScriptedCloud) -> None:
    environ = set_secret(cloud)
    del environ["AZURE_AUTHORITY_HOST"]
    await sign(make(environ, proxy=cloud.url))
    assert cloud.connects == ["login.microsoftonline.com:443"]
    assert cloud.requests[0].host == "login.microsoftonline.com"


@pytest.mark.parametrize(
    "authority", ["login.microsoftonline.com", "https://login.microsoftonline.com"]
)
async def test_an_authority_may_leave_its_scheme_out(cloud: ScriptedCloud, authority: str) -> None:
    environ = {**set_secret(cloud), "AZURE_AUTHORITY_HOST": authority}
    await sign(make(environ, proxy=cloud.url))
    assert cloud.connects == ["login.microsoftonline.com:443"]


async def test_a_secret_goes_to_no_authority_without_encryption(cloud: ScriptedCloud) -> None:
    environ = {**set_secret(cloud), "AZURE_AUTHORITY_HOST": "http://login.example"}
    assert "must start with https://" in await fail(make(environ, proxy=cloud.url))
    assert cloud.requests == []


async def test_a_wrong_secret_is_an_error_without_it(cloud: ScriptedCloud) -> None:
    environ = {**set_secret(cloud), "AZURE_CLIENT_SECRET": "wrong-secret"}
    message = await fail(make(environ))
    assert message == (
        f"Azure, client secret: 127.0.0.1:{cloud.port} answers 401 "
        "(invalid_client, AADSTS7000215, the client secret is wrong)."
    )
    assert cloud.paths == [ENTRA_PATH]  # the gateway does not go on as somebody else


async def test_a_federated_token_is_read_at_each_refresh(
    cloud: ScriptedCloud, tmp_path: Path
) -> None:
    wall = SetClock(NOW)
    signer = make(set_federation(cloud, tmp_path / "token"), wall)
    await sign(signer)
    assert (await signer.fetch_status()).source == "Azure, workload identity"
    cloud.assertion = "the-next-projected-token"
    (tmp_path / "token").write_text("the-next-projected-token")
    wall.now += 3600
    assert await sign(signer) == [("authorization", "Bearer cognitiveservices.azure.com-token-2")]
    assertions = [request.form["client_assertion"] for request in cloud.requests]
    assert assertions == ["the-projected-token", "the-next-projected-token"]
    assert IMDS_PATH not in cloud.paths


async def test_an_ended_federated_token_is_an_error_without_it(
    cloud: ScriptedCloud, tmp_path: Path
) -> None:
    signer = make(set_federation(cloud, tmp_path / "token"))
    cloud.assertion = "another"
    message = await fail(signer)
    assert "AADSTS700024, the federated token has ended" in message
    assert "the-projected-token" not in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b" \n", "it is not a token"),
        (b"\xff\xfe", "it is not a token"),
        (b"a" * 100_001, "it is not a token"),
    ],
)
async def test_a_federated_token_that_cannot_be_read_is_an_error(
    cloud: ScriptedCloud, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "token"
    environ = set_federation(cloud, path)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    message = await fail(make(environ))
    assert f"AZURE_FEDERATED_TOKEN_FILE ({path}) cannot be read: {reason}." in message
    assert cloud.requests == []


async def test_a_secret_comes_before_workload_identity(
    cloud: ScriptedCloud, tmp_path: Path
) -> None:
    environ = {**set_federation(cloud, tmp_path / "token"), "AZURE_CLIENT_SECRET": CLIENT_SECRET}
    assert (await make(environ).fetch_status()).source == "Azure, client secret"


@pytest.mark.parametrize("client", [None, "user-assigned-1"])
async def test_the_machine_has_a_managed_identity(cloud: ScriptedCloud, client: str | None) -> None:
    environ = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url}
    # A proxy that is not there shows that the metadata address is asked without one.
    signer = make(environ, client=client, proxy="http://127.0.0.1:1")
    assert await sign(signer) == [("authorization", "Bearer imds-token-1")]
    status = await signer.fetch_status()
    assert status.source == "Azure, managed identity (IMDS)"
    assert status.identity == (client or "system-assigned")
    assert status.expires_at == NOW + 3600
    request = cloud.requests[0]
    assert cloud.probe_count == 1
    assert request.query["resource"] == "https://cognitiveservices.azure.com"
    assert request.query.get("client_id") == client


async def test_app_service_gives_a_managed_identity(cloud: ScriptedCloud) -> None:
    environ = {
        "IDENTITY_ENDPOINT": f"{cloud.url}/msi/token",
        "IDENTITY_HEADER": "identity-header-secret",
        "AZURE_CLIENT_ID": "user-assigned-1",
    }
    signer = make(environ, proxy="http://127.0.0.1:1")
    assert await sign(signer) == [("authorization", "Bearer app-service-token-1")]
    status = await signer.fetch_status()
    assert status.source == "Azure, managed identity (IDENTITY_ENDPOINT)"
    assert status.expires_at == 1_800_003_600
    assert cloud.requests[0].query["client_id"] == "user-assigned-1"


async def test_a_wrong_identity_header_is_an_error_without_it(cloud: ScriptedCloud) -> None:
    environ = {"IDENTITY_ENDPOINT": f"{cloud.url}/msi/token", "IDENTITY_HEADER": "wrong-header"}
    message = await fail(make(environ))
    assert "managed identity (IDENTITY_ENDPOINT): " in message
    assert "answers 401" in message
    assert "wrong-header" not in message


async def test_without_any_source_the_error_tells_what_each_lacks() -> None:
    environ = {
        "AZURE_CLIENT_ID": "client-1",
        "AZURE_CLIENT_CERTIFICATE_PATH": "/c.pem",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:1",
    }
    assert await fail(make(environ)) == (
        "Azure gives this machine no credential. "
        "client secret: AZURE_TENANT_ID, AZURE_CLIENT_SECRET are not set. "
        "The gateway does not use AZURE_CLIENT_CERTIFICATE_PATH. "
        "workload identity: AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE are not set. "
        "managed identity (IMDS): 127.0.0.1:1 cannot be reached (All connection attempts failed)."
    )


async def test_the_reason_names_one_missing_variable(cloud: ScriptedCloud) -> None:
    environ = {**set_secret(cloud), "AZURE_CLIENT_SECRET": ""}
    environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = "http://127.0.0.1:1"
    message = await fail(make(environ))
    assert "client secret: AZURE_CLIENT_SECRET is not set." in message


async def test_entra_that_is_not_there_is_an_error(cloud: ScriptedCloud) -> None:
    environ = {**set_secret(cloud), "AZURE_AUTHORITY_HOST": "http://127.0.0.1:1"}
    message = await fail(make(environ))
    assert (
        message
        == "Azure, client secret: 127.0.0.1:1 cannot be reached (All connection attempts failed)."
    )


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((302, {"location": "/msi/token"}, b""), "answers 302."),
        ((400, {}, b'{"error":"invalid_request"}'), "answers 400 (invalid_request)."),
        ((503, {}, b"<html>the-secret</html>"), "answers 503."),
        ((200, {}, b"[]"), "the answer has no access token."),
        ((200, {}, b'{"access_token":""}'), "the answer has no access token."),
        ((200, {}, b'{"access_token":"two\\nlines"}'), "the answer has no access token."),
        ((200, {}, b" " * 100_001), "answers more than 100,000 bytes."),
    ],
)
async def test_other_answers_are_errors(cloud: ScriptedCloud, answer: Answer, reason: str) -> None:
    cloud.answers[IMDS_PATH] = answer
    message = await fail(make({"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url}))
    assert message.endswith(reason)
    assert "the-secret" not in message
    assert cloud.paths == [IMDS_PATH]  # redirects are not followed


@pytest.mark.parametrize(
    "end", [b"", b',"expires_in":"soon"', b',"expires_in":"nan"', b',"expires_in":[]']
)
async def test_a_token_without_an_end_is_used_for_five_minutes(
    cloud: ScriptedCloud, end: bytes
) -> None:
    cloud.answers[IMDS_PATH] = (200, {}, b'{"access_token":"t","client_id":7' + end + b"}")
    status = await make({"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url}).fetch_status()
    assert (status.expires_at, status.identity) == (NOW + 300, None)
