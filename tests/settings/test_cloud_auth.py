"""The cloud identity of providers in a configuration."""

from pathlib import Path

import pytest

from gateway.core.cloud_auth import AwsAuth, AzureAuth, CloudAuth, GoogleAuth
from tests.settings import world

ACCOUNT = '    accounts: {main: "${ACME_API_KEY}"}\n'
AZURE_SCOPE = "https://ai.azure.com/.default"


def write_base(lines: str) -> str:
    """Return the base configuration with other lines in place of the provider's account."""
    return world.BASE.replace(ACCOUNT, lines)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("    auth: aws\n", AwsAuth(service="bedrock", region="us-east-1")),
        ("    auth: aws\n    aws: {service: s, region: r, profile: p, role: arn:x}\n    proxy: http://p\n",
         AwsAuth(service="s", region="r", profile="p", role="arn:x", proxy="http://p")),
        ("    auth: google\n    google: {file: key.json}\n", GoogleAuth(file="key.json")),
        ("    auth: azure\n    azure: {tenant: t, client: c}\n",
         AzureAuth(scope=AZURE_SCOPE, tenant="t", client="c")),
        (ACCOUNT, None),
    ],
)  # fmt: skip
def test_a_provider_gets_the_settings_of_its_cloud(
    tmp_path: Path, lines: str, expected: CloudAuth | None
) -> None:
    provider = world.built(tmp_path, write_base(lines)).providers["acme"]
    assert provider.cloud_auth == expected
    assert provider.enabled


def test_a_provider_with_an_identity_is_on_without_accounts_and_sends_no_key(
    tmp_path: Path,
) -> None:
    provider = world.built(tmp_path, write_base(f"{ACCOUNT}    auth: aws\n")).providers["acme"]
    assert provider.auth == "none"
    assert [account.secret for account in provider.accounts] == [""]


def test_check_warns_of_a_key_that_is_not_sent(tmp_path: Path) -> None:
    assert world.warnings(tmp_path, write_base(f"{ACCOUNT}    auth: aws\n")) == [
        (
            "c.yaml:6: warning: providers.acme.accounts.main: is not sent: `auth: aws` takes no keys. "
            "Unset it, or the `auth`."
        )
    ]
    empty = write_base('    accounts: {main: ""}\n    auth: aws\n')
    assert world.warnings(tmp_path, empty) == []


def test_settings_of_another_cloud_are_an_error(tmp_path: Path) -> None:
    text = write_base("    auth: aws\n    azure: {tenant: t}\n")
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:7: error: providers.acme.azure: has no effect with `auth: aws`. Remove it."
    ]


def test_settings_of_a_cloud_may_stand_beside_a_key(tmp_path: Path) -> None:
    """So one word turns a provider that ships to the identity of its cloud."""
    assert world.mistakes(tmp_path, write_base(f"{ACCOUNT}    aws: {{region: r}}\n")) == []


def test_a_variant_needs_its_dialect(tmp_path: Path) -> None:
    text = write_base("    auth: google\n    variant: vertex\n")
    assert world.mistakes(tmp_path, text) == [
        (
            "c.yaml:7: error: providers.acme.variant: is a variant of anthropic-messages, which is "
            "none of its `dialects`."
        )
    ]
