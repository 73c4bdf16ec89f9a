"""A program that prints a credential of AWS: how it is run, and what its faults say."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.upstream.credentials.request_signer import CredentialStatus
from tests.upstream.credentials.aws_cloud import AwsCloud, Clock
from tests.upstream.credentials.aws_search import (
    fetch_error,
    fetch_status,
    make_signer,
    write_files,
)


@pytest.fixture
async def cloud() -> AsyncIterator[AwsCloud]:
    cloud = AwsCloud(Clock())
    await cloud.start()
    yield cloud
    await cloud.close()


PROCESS = """
import json, os, sys
mode = sys.argv[1]
if mode == "fail":
    print("sEcReT", file=sys.stderr)
    sys.exit(3)
if mode == "flood":
    print("x" * 100_000)
if mode == "old":
    print(json.dumps({"Version": 2, "AccessKeyId": "sEcReT"}))
if mode == "bare":
    print(json.dumps({"Version": 1, "AccessKeyId": "sEcReT"}))
if mode == "a b":
    print(json.dumps({
        "Version": 1, "AccessKeyId": os.environ["HAVE"], "SecretAccessKey": "sEcReT", "SessionToken": "t",
        "Expiration": "2033-05-18T03:33:20Z"}))
if mode == "hang":
    import time
    time.sleep(600)
"""


def write_process(folder: Path, arguments: str) -> dict[str, str]:
    program = folder / "program.py"
    program.write_text(PROCESS, encoding="utf-8")
    return write_files(
        folder,
        f"[default]\ncredential_process = {sys.executable} -I {program} {arguments}\n",
        HAVE="AKIDPROCESS",
    )


async def test_a_credential_process_runs_without_a_shell(cloud: AwsCloud, tmp_path: Path) -> None:
    status = await fetch_status(cloud, write_process(tmp_path, "'a b' $(exit) ; exit"))
    assert status == CredentialStatus(
        source="AWS, profile `default` (credential_process)",
        identity="AKIDPROCESS",
        expires_at=2e9,
    )


async def test_the_session_token_of_a_credential_process_is_sent(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    signer = make_signer(cloud, write_process(tmp_path, "'a b'"))
    headers = dict(await signer.sign("POST", httpx.URL("https://h/"), b""))
    assert headers["x-amz-security-token"] == "t"
    await signer.close()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("fail", "ended with status 3: run it by hand to see why"),
        ("flood", "credential_process printed more than 65536 bytes"),
        ("old", "printed no JSON with `Version: 1`"),
        ("nothing", "printed no JSON with `Version: 1`"),
        ("bare", "the credential in JSON cannot be read: Object missing required field"),
        ("'", "credential_process is no command: a quotation mark is not closed"),
    ],
)
async def test_a_credential_process_that_fails_is_not_quoted(
    cloud: AwsCloud, tmp_path: Path, arguments: str, reason: str
) -> None:
    assert reason in await fetch_error(cloud, write_process(tmp_path, arguments))


async def test_a_credential_process_that_is_missing_says_so(
    cloud: AwsCloud, tmp_path: Path
) -> None:
    environ = write_files(tmp_path, "[default]\ncredential_process = /none/at-all\n")
    assert (
        "credential_process /none/at-all cannot start: No such file or directory"
        in await fetch_error(cloud, environ)
    )


@pytest.mark.jumping_clock
async def test_a_credential_process_that_hangs_is_killed(cloud: AwsCloud, tmp_path: Path) -> None:
    assert "did not end within 20 s" in await fetch_error(cloud, write_process(tmp_path, "hang"))
