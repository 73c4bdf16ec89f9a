"""A process has one signer for each way to authenticate."""

import httpx

from gateway.core.cloud_auth import AwsAuth, AzureAuth, GoogleAuth
from gateway.upstream.credentials.cloud_credentials import CloudCredentials
from gateway.upstream.credentials.make_signer import make_signer
from tests.upstream.credentials.scripted_cloud import ScriptedCloud


async def test_each_cloud_has_its_signer(cloud: ScriptedCloud) -> None:
    environ = {
        "HOME": "/nowhere",
        "GCE_METADATA_HOST": f"127.0.0.1:{cloud.port}",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url,
    }
    for auth, source in (
        (GoogleAuth(), "Google Cloud, metadata server"),
        (AzureAuth(scope="https://ai.azure.com/.default"), "Azure, managed identity (IMDS)"),
    ):
        signer = make_signer(auth, environ, lambda: 1_800_000_000.0, lambda: 0.5)
        assert cloud.requests == []  # nothing is asked before a request needs it
        assert (await signer.fetch_status()).source == source
        headers = await signer.sign("POST", httpx.URL("https://h/x"), None)
        headers.append(("x", "y"))  # a caller may change its own list
        assert len(await signer.sign("POST", httpx.URL("https://h/x"), None)) == 1
        await signer.close()
        cloud.requests.clear()


async def test_the_same_settings_share_a_signer(cloud: ScriptedCloud) -> None:
    environ = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url}
    credentials = CloudCredentials(environ, wall=lambda: 1_800_000_000.0, jitter=lambda: 0.5)
    auth = AzureAuth(scope="https://ai.azure.com/.default")
    first = credentials.get_signer(auth)
    assert credentials.get_signer(AzureAuth(scope="https://ai.azure.com/.default")) is first
    other = credentials.get_signer(AzureAuth(scope="https://cognitiveservices.azure.com/.default"))
    assert other is not first
    await credentials.close()
    assert credentials.get_signer(auth) is not first


async def test_aws_signs_with_the_key_of_the_environment() -> None:
    environ = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": "s"}
    auth = AwsAuth(service="bedrock", region="eu-central-1")
    signer = make_signer(auth, environ, lambda: 1_800_000_000.0, lambda: 0.5)
    assert (await signer.fetch_status()).source == "AWS, environment"
    headers = dict(await signer.sign("POST", httpx.URL("https://h/x"), b""))
    assert headers["x-amz-date"] == "20270115T080000Z"
    assert headers["authorization"].startswith(
        "AWS4-HMAC-SHA256 Credential=AKIA1/20270115/eu-central-1/bedrock/aws4_request, "
    )
    await signer.close()
