"""Access tokens of Google Cloud: the sources in their order, and what each says when it fails."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.exceptions import TransportError

from gateway.core import jsonio
from gateway.core.cloud_auth import GoogleAuth
from gateway.upstream.credentials.google_credentials import make_google_signer
from gateway.upstream.credentials.google_files import GoogleToken, _LoopRequest
from gateway.upstream.credentials.request_signer import CredentialError, RequestSigner
from tests.upstream.credentials.scripted_cloud import (
    ACCOUNT,
    SUBJECT_TOKEN,
    TARGET_ACCOUNT,
    Answer,
    ScriptedCloud,
)

POOL = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q"
METADATA_PATH = "/computeMetadata/v1/instance/service-accounts/default"
AWS_TYPE = "urn:ietf:params:aws:token-type:aws4_request"


@pytest.fixture(autouse=True)
def _skip_waits_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)


@pytest.fixture
def environ(cloud: ScriptedCloud, tmp_path: Path) -> dict[str, str]:
    """Return an environment in which only the metadata server is there."""
    return {"HOME": str(tmp_path), "GCE_METADATA_HOST": f"127.0.0.1:{cloud.port}"}


def make(environ: Mapping[str, str], **auth: Any) -> RequestSigner:
    # The library reads the machine's clock.
    return make_google_signer(GoogleAuth(**auth), environ, time.time, lambda: 0.5)


def write(path: Path, info: object) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jsonio.dumps(info))
    return str(path)


def federate(cloud: ScriptedCloud, source: object, **members: object) -> dict[str, object]:
    """Return a file of workload identity federation."""
    return {
        "type": "external_account",
        "audience": POOL,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{cloud.url}/sts/token",
        "credential_source": source,
        **members,
    }


async def sign(signer: RequestSigner) -> list[tuple[str, str]]:
    return await signer.sign("POST", httpx.URL("https://aiplatform.googleapis.com/x"), None)


async def fail(signer: RequestSigner) -> str:
    with pytest.raises(CredentialError) as caught:
        await sign(signer)
    assert caught.value.__cause__ is None
    return str(caught.value)


async def test_the_key_of_a_service_account_signs_for_a_token(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = cloud.write_service_account(tmp_path / "key.json")
    signer = make({**environ, "GOOGLE_APPLICATION_CREDENTIALS": path})
    before = time.time()
    assert await sign(signer) == [("authorization", "Bearer google-token-1")]
    status = await signer.fetch_status()
    assert status.source == f"Google Cloud, GOOGLE_APPLICATION_CREDENTIALS ({path})"
    assert status.identity == ACCOUNT
    assert status.expires_at is not None
    assert before + 3599 <= status.expires_at <= time.time() + 3600
    assert cloud.paths == ["/google/token"]  # nobody asks the metadata server
    await signer.close()


async def test_a_key_that_google_does_not_know_is_an_error_without_the_assertion(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = cloud.write_service_account(tmp_path / "key.json")
    cloud.key = rsa.generate_private_key(65537, 2048)
    message = await fail(make(environ, file=path))
    assert message == (f"Google Cloud, {path}: 127.0.0.1:{cloud.port} answers 400 (invalid_grant).")


async def test_the_file_of_the_settings_wins(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = cloud.write_service_account(tmp_path / "key.json")
    signer = make({**environ, "GOOGLE_APPLICATION_CREDENTIALS": "/not/there"}, file=path)
    assert (await signer.fetch_status()).source == f"Google Cloud, {path}"


async def test_a_key_is_read_at_each_refresh(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    cloud.write_service_account(path)
    cloud.life = 6
    now = time.time()
    signer = make_google_signer(GoogleAuth(file=str(path)), environ, lambda: now, lambda: 0.5)
    await sign(signer)
    cloud.key = rsa.generate_private_key(65537, 2048)
    cloud.write_service_account(path)
    now += 10
    cloud.life = 3600
    assert await sign(signer) == [("authorization", "Bearer google-token-2")]


@pytest.mark.parametrize("has_folder", [True, False])
async def test_gcloud_gives_the_credential_of_a_person(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path, has_folder: bool
) -> None:
    folder = tmp_path / "elsewhere" if has_folder else tmp_path / ".config" / "gcloud"
    if has_folder:
        environ["CLOUDSDK_CONFIG"] = str(folder)
    info = {
        "type": "authorized_user",
        "client_id": "client",
        "client_secret": "secret",
        "refresh_token": "the-refresh-token",
        "quota_project_id": "project-3",
    }
    path = write(folder / "application_default_credentials.json", info)
    signer = make(environ, proxy=cloud.url)
    headers = await sign(signer)
    assert headers == [
        ("authorization", "Bearer google-token-1"),
        ("x-goog-user-project", "project-3"),
    ]
    assert cloud.connects == ["oauth2.googleapis.com:443"]  # through the proxy, encrypted
    assert (await signer.fetch_status()).source == f"Google Cloud, gcloud ({path})"
    assert METADATA_PATH not in "".join(cloud.paths)


async def test_the_quota_project_of_the_environment_wins(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = cloud.write_service_account(tmp_path / "key.json", quota_project_id="of-the-file")
    environ["GOOGLE_CLOUD_QUOTA_PROJECT"] = "of-the-environment"
    headers = await sign(make(environ, file=path))
    assert headers[1] == ("x-goog-user-project", "of-the-environment")


async def test_a_service_account_is_impersonated(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    cloud.write_service_account(path)
    source = jsonio.loads(path.read_bytes())
    info = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": (
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/"
            f"{TARGET_ACCOUNT}:generateAccessToken"
        ),
        "source_credentials": source,
    }
    signer = make(environ, file=write(tmp_path / "impersonated.json", info), proxy=cloud.url)
    assert await sign(signer) == [("authorization", "Bearer impersonated-token-2")]
    assert (await signer.fetch_status()).identity == TARGET_ACCOUNT
    assert cloud.connects == ["iamcredentials.googleapis.com:443"]


async def test_a_refused_impersonation_tells_google_s_status(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    url = f"{cloud.url}/v1/projects/-/serviceAccounts/{TARGET_ACCOUNT}:generateAccessToken"
    (tmp_path / "subject").write_text(SUBJECT_TOKEN)
    info = federate(
        cloud, {"file": str(tmp_path / "subject")}, service_account_impersonation_url=url
    )
    cloud.answers[f"/v1/projects/-/serviceAccounts/{TARGET_ACCOUNT}:generateAccessToken"] = (
        403,
        {},
        b'{"error":{"code":403,"status":"PERMISSION_DENIED","message":"the-secret"}}',
    )
    message = await fail(make(environ, file=write(tmp_path / "wif.json", info)))
    assert message.endswith("answers 403 (PERMISSION_DENIED).")


@pytest.mark.parametrize("is_impersonated", [True, False])
@pytest.mark.parametrize("kind", ["file", "url"])
async def test_the_token_of_another_cloud_is_exchanged(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path, kind: str, is_impersonated: bool
) -> None:
    (tmp_path / "subject").write_text(SUBJECT_TOKEN)
    sources = {
        "file": {"file": str(tmp_path / "subject")},
        "url": {"url": f"{cloud.url}/subject-token", "headers": {"Metadata": "True"}},
    }
    info = federate(cloud, sources[kind])
    if is_impersonated:
        url = f"{cloud.url}/v1/projects/-/serviceAccounts/{TARGET_ACCOUNT}:generateAccessToken"
        info["service_account_impersonation_url"] = url
    # A proxy that is not there shows that addresses of this machine are asked without one.
    signer = make(environ, file=write(tmp_path / "wif.json", info), proxy="http://127.0.0.1:1")
    headers = await sign(signer)
    token = "impersonated-token-2" if is_impersonated else "sts-token-1"
    assert headers == [("authorization", f"Bearer {token}")]
    identity = (await signer.fetch_status()).identity
    assert identity == (TARGET_ACCOUNT if is_impersonated else None)


async def test_credentials_of_aws_in_the_environment_are_exchanged(
    cloud: ScriptedCloud,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    source = {
        "environment_id": "aws1",
        "region_url": f"{cloud.url}/nothing",
        "url": f"{cloud.url}/nothing",
        "regional_cred_verification_url": (
            "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
        ),
    }
    path = write(tmp_path / "wif.json", federate(cloud, source, subject_token_type=AWS_TYPE))
    aws = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
        "AWS_SESSION_TOKEN": "session",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    assert await sign(make({**environ, **aws}, file=path)) == [
        ("authorization", "Bearer sts-token-1")
    ]
    assert "wJalrXUtnFEMI" not in cloud.requests[0].body.decode()
    # Without them the library asks AWS's metadata server, at the addresses in the file.
    assert "answers 404 (not_found)" in await fail(make(environ, file=path))


async def test_an_executable_runs_only_if_the_process_allows_it(
    cloud: ScriptedCloud,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", raising=False)
    program = tmp_path / "program"
    answer = {
        "version": 1,
        "success": True,
        "token_type": "urn:ietf:params:oauth:token-type:jwt",
        "id_token": SUBJECT_TOKEN,
        "expiration_time": 4_000_000_000,
    }
    program.write_text(f"#!/bin/sh\necho '{jsonio.dumps(answer).decode()}'\n")
    program.chmod(0o700)
    source = {"executable": {"command": str(program), "timeout_millis": 5000}}
    path = write(tmp_path / "wif.json", federate(cloud, source))
    message = await fail(make(environ, file=path))
    assert "only if GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES is 1" in message
    assert cloud.requests == []
    monkeypatch.setenv("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
    assert await sign(make(environ, file=path)) == [("authorization", "Bearer sts-token-1")]


async def test_the_federated_credential_of_a_person_is_used(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    info = {
        "type": "external_account_authorized_user",
        "audience": "//iam.googleapis.com/locations/global/workforcePools/p/providers/q",
        "client_id": "client",
        "client_secret": "secret",
        "refresh_token": "the-refresh-token",
        "token_url": f"{cloud.url}/google/token",
        "token_info_url": f"{cloud.url}/info",
    }
    signer = make(environ, file=write(tmp_path / "user.json", info))
    assert await sign(signer) == [("authorization", "Bearer google-token-1")]


async def test_the_metadata_server_gives_the_token_of_the_machine(
    cloud: ScriptedCloud, environ: dict[str, str]
) -> None:
    environ["GOOGLE_CLOUD_QUOTA_PROJECT"] = "project-3"
    now = 1_800_000_000.0
    signer = make_google_signer(
        GoogleAuth(proxy="http://127.0.0.1:1"), environ, lambda: now, lambda: 0.5
    )
    assert await sign(signer) == [
        ("authorization", "Bearer metadata-token-1"),
        ("x-goog-user-project", "project-3"),
    ]
    status = await signer.fetch_status()
    assert (status.source, status.identity) == ("Google Cloud, metadata server", ACCOUNT)
    assert status.expires_at == now + 3600
    assert cloud.paths == [f"{METADATA_PATH}/email", f"{METADATA_PATH}/token"]


async def test_a_token_is_used_though_the_address_of_its_account_is_unknown(
    cloud: ScriptedCloud, environ: dict[str, str]
) -> None:
    cloud.answers[f"{METADATA_PATH}/email"] = (404, {"metadata-flavor": "Google"}, b"no")
    assert (await make(environ).fetch_status()).identity is None


@pytest.mark.jumping_clock
async def test_a_silent_metadata_server_is_given_up_after_a_second(
    cloud: ScriptedCloud, environ: dict[str, str]
) -> None:
    cloud.answers[f"{METADATA_PATH}/email"] = None
    started_at = asyncio.get_running_loop().time()
    with pytest.raises(CredentialError, match="does not answer in time"):
        await make(environ).fetch_status()
    assert asyncio.get_running_loop().time() - started_at == pytest.approx(1.0, abs=0.2)
    assert cloud.paths == [f"{METADATA_PATH}/email"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {}, b'{"access_token":"t"}'), "another server answers at 127.0.0.1:{port}."),
        ((302, {"metadata-flavor": "Google", "location": "/token"}, b""), "answers 302."),
        (
            (404, {"metadata-flavor": "Google"}, b""),
            "answers 404 (this machine has no service account).",
        ),
        ((200, {"metadata-flavor": "Google"}, b"{}"), "the answer has no access token."),
    ],
)
async def test_other_answers_of_the_metadata_server_are_errors(
    cloud: ScriptedCloud, environ: dict[str, str], answer: Answer, reason: str
) -> None:
    cloud.answers[f"{METADATA_PATH}/token"] = answer
    assert (await fail(make(environ))).endswith(reason.format(port=cloud.port))
    assert "/token" not in cloud.paths  # redirects are not followed


async def test_without_any_source_the_error_tells_what_each_lacks(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "GCE_METADATA_HOST": "127.0.0.1:1"}
    missing = (
        "Google Cloud gives this machine no credential: GOOGLE_APPLICATION_CREDENTIALS is not set, "
        f"gcloud's {tmp_path}/.config/gcloud/application_default_credentials.json is not there, "
    )
    assert await fail(make(environ)) == (
        f"{missing}and the metadata server gives none: "
        "127.0.0.1:1 cannot be reached (All connection attempts failed)."
    )
    assert await fail(make({**environ, "NO_GCE_CHECK": "true"})) == (
        f"{missing}and NO_GCE_CHECK forbids to ask the metadata server."
    )


async def test_the_home_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of-the-process")
    message = await fail(make({"NO_GCE_CHECK": "true"}))
    assert "/home/of-the-process/.config/gcloud/" in message


async def test_a_home_of_somebody_else_has_no_file(
    cloud: ScriptedCloud, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "is_file", refuse)
    assert (await make(environ).fetch_status()).source == "Google Cloud, metadata server"


async def test_a_missing_extra_says_how_to_install_it(
    cloud: ScriptedCloud,
    environ: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(
        __import__("sys").modules, "gateway.upstream.credentials.google_files", None
    )
    path = cloud.write_service_account(tmp_path / "key.json")
    assert (await fail(make(environ, file=path))).endswith("pip install 'tiergate[google]'.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "the file cannot be read: No such file or directory."),
        ("{", "the file is not a JSON object."),
        ("[]", "the file is not a JSON object."),
        ('{"type":"gdch"}', "the file has the type gdch, which the gateway does not know."),
        ("{}", "the file has the type None, which the gateway does not know."),
        ('{"type":"service_account"}', "the file does not give a token (MalformedError)."),
        ('{"type":"impersonated_service_account"}', "does not give a token (AttributeError)."),
        ('{"type":"external_account"}', "the file does not give a token (InvalidValue)."),
    ],
)
async def test_a_file_that_is_no_credential_is_an_error(
    environ: dict[str, str], tmp_path: Path, content: str | None, reason: str
) -> None:
    path = tmp_path / "key.json"
    if content is not None:
        path.write_text(content)
    assert (await fail(make(environ, file=str(path)))).endswith(reason)


async def test_a_subject_token_that_is_not_there_names_its_file(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    info = federate(cloud, {"file": "/not/there"})
    message = await fail(make(environ, file=write(tmp_path / "wif.json", info)))
    assert message.endswith("the file of its token, /not/there, does not give one.")


async def test_a_token_service_that_is_not_there_is_an_error(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = cloud.write_service_account(tmp_path / "key.json", token_uri="http://127.0.0.1:1/token")
    message = await fail(make(environ, file=path))
    assert message.endswith("127.0.0.1:1 cannot be reached (All connection attempts failed).")


async def test_close_ends_the_thread_of_a_refresh(
    cloud: ScriptedCloud, environ: dict[str, str], tmp_path: Path
) -> None:
    path = cloud.write_service_account(tmp_path / "key.json")
    cloud.answers["/google/token"] = None
    signer = make(environ, file=path)
    caller = asyncio.create_task(sign(signer))
    await cloud.arrived.wait()
    await signer.close()
    with pytest.raises(CredentialError, match="stops"):
        await caller
    await asyncio.get_running_loop().shutdown_default_executor()  # waits for threads
    assert cloud.paths == ["/google/token"]


async def test_a_library_whose_caller_left_sends_no_request(cloud: ScriptedCloud) -> None:
    request = _LoopRequest(asyncio.get_running_loop(), None)
    request.close()
    with pytest.raises(TransportError, match="the caller has left"):
        await asyncio.to_thread(request, f"{cloud.url}/subject-token")
    assert cloud.requests == []


async def test_the_library_reads_answers(cloud: ScriptedCloud) -> None:
    request = _LoopRequest(asyncio.get_running_loop(), None)
    response = await asyncio.to_thread(request, f"{cloud.url}/subject-token")
    assert (response.status, response.data) == (200, SUBJECT_TOKEN.encode())
    assert response.headers["Content-Type"] == "application/json"


async def test_a_certificate_of_the_library_is_refused(cloud: ScriptedCloud) -> None:
    request = _LoopRequest(asyncio.get_running_loop(), None)
    with pytest.raises(TransportError, match="does not use the certificate"):
        await asyncio.to_thread(request, f"{cloud.url}/subject-token", cert=("c", "k"))
    assert cloud.requests == []


def test_the_secret_is_not_in_the_representation() -> None:
    token = GoogleToken(value="the-secret", identity=ACCOUNT, expires_at=1.0, quota_project=None)
    assert repr(token) == f"GoogleToken({ACCOUNT!r}, 1.0)"
