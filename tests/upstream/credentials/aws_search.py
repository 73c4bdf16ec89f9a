"""Helpers of tests that find a credential of AWS in the scripted cloud."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.core.cloud_auth import AwsAuth
from gateway.upstream.credentials.aws.aws_request_signer import make_aws_signer
from gateway.upstream.credentials.request_signer import (
    CredentialError,
    CredentialStatus,
    RequestSigner,
)
from tests.upstream.credentials.aws_cloud import REGION, SECRET_MARK, AwsCloud


def make_signer(
    cloud: AwsCloud,
    environ: Mapping[str, str],
    *,
    profile: str | None = None,
    role: str | None = None,
    proxy: str | None = None,
) -> RequestSigner:
    return make_aws_signer(
        AwsAuth(service="bedrock", region=REGION, profile=profile, role=role, proxy=proxy),
        environ,
        cloud.clock,
        lambda: 0.5,
        send=cloud.send,
    )


async def fetch_status(
    cloud: AwsCloud,
    environ: Mapping[str, str],
    *,
    profile: str | None = None,
    role: str | None = None,
) -> CredentialStatus:
    signer = make_signer(cloud, environ, profile=profile, role=role)
    try:
        status = await signer.fetch_status()
    finally:
        await signer.close()
    assert SECRET_MARK not in repr(status)
    return status


async def fetch_error(
    cloud: AwsCloud,
    environ: Mapping[str, str],
    *,
    profile: str | None = None,
    role: str | None = None,
) -> str:
    with pytest.raises(CredentialError) as error:
        await fetch_status(cloud, environ, profile=profile, role=role)
    message = str(error.value)
    assert SECRET_MARK not in message
    assert message.isprintable()
    return message


def write_files(
    folder: Path, config: str = "", credentials: str = "", **environ: str
) -> dict[str, str]:
    """Write AWS's two files; return an environment that names them, without instance metadata."""
    (folder / "config").write_text(config, encoding="utf-8")
    (folder / "credentials").write_text(credentials, encoding="utf-8")
    return {
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        **environ,
    }
