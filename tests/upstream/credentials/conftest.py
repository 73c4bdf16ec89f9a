"""Fixtures: clouds on loopback."""

from collections.abc import AsyncIterator

import pytest

from tests.upstream.credentials.scripted_cloud import CloudCertificate, ScriptedCloud, run_cloud


@pytest.fixture(scope="session")
def cloud_certificate(tmp_path_factory: pytest.TempPathFactory) -> CloudCertificate:
    return CloudCertificate(tmp_path_factory.mktemp("clouds"))


@pytest.fixture
async def cloud(
    cloud_certificate: CloudCertificate, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ScriptedCloud]:
    """Run the clouds; requests trust their certificate."""
    monkeypatch.setattr(
        "gateway.upstream.credentials.identity_request.create_tls_context",
        cloud_certificate.make_client_context,
    )
    async with run_cloud(cloud_certificate) as running_cloud:
        yield running_cloud
