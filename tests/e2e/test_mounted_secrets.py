"""Secrets from a folder of files, as Kubernetes, a CSI driver or Vault's agent mounts them."""

import hashlib
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core import jsonio
from tests.e2e.child import GatewayChild, until
from tests.e2e.upstream import PATIENCE, Upstream, whole
from tests.e2e.world import config
from tests.mounted_secrets import mount_secrets

CLIENT, ADMIN, METRICS = (f"{name}-key-0123456789abcdef" for name in ("client", "admin", "metrics"))
SECRETS = {
    "ACME_API_KEY": "sk-acme-0123456789-first\n",
    "LEDGER_STORE": "sqlite:///mounted.db\n",
    "REDIS_URL": "redis://127.0.0.1:1\n",  # nothing listens there
    "TIERGATE_ADMIN_KEY": f"{ADMIN}\n",
    "TIERGATE_KEYS": f"client={hashlib.sha256(CLIENT.encode()).hexdigest()}\n",
    "TIERGATE_METRICS__KEY": f"{METRICS}\n",
    "TIERGATE_SECRET": f"{'0123456789abcdef' * 4}\n",
}


class MountedGateway:
    """A gateway of two workers whose secrets are all in one folder."""

    def __init__(self, folder: Path, upstream: Upstream) -> None:
        value = config(upstream.url)
        value["providers"]["acme"]["accounts"] = {"main": "${ACME_API_KEY}"}
        value["ledger"] = {"store": "${LEDGER_STORE}"}
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        self.secrets = folder / "secrets"
        mount_secrets(self.secrets, 1, **SECRETS)
        self.data = folder / "data"
        self.child = GatewayChild(file, "--workers", "2", TIERGATE_SECRETS_FOLDER=str(self.secrets))

    def ask(self, method: str, path: str, key: str, body: object = None) -> tuple[int, bytes]:
        client = http.client.HTTPConnection("127.0.0.1", self.child.port, timeout=PATIENCE)
        data = b"" if body is None else jsonio.dumps(body)
        client.request(
            method, path, data, {"authorization": f"Bearer {key}", "connection": "close"}
        )
        answer = client.getresponse()
        reply = answer.status, answer.read()
        client.close()
        return reply

    def call(self) -> int:
        body = {"model": "smart", "messages": [{"role": "user", "content": "hello"}]}
        return self.ask("POST", "/v1/chat/completions", CLIENT, body)[0]


@pytest.fixture
def gateway(tmp_path: Path, upstream: Upstream) -> Iterator[MountedGateway]:
    upstream.on("/acme", whole())
    gateway = MountedGateway(tmp_path, upstream)
    yield gateway
    gateway.child.stop()


def test_every_secret_can_come_from_a_mounted_file(
    gateway: MountedGateway, upstream: Upstream
) -> None:
    assert gateway.call() == 200
    assert upstream.arrived().header("authorization") == "Bearer sk-acme-0123456789-first"
    assert gateway.ask("GET", "/admin/config", ADMIN)[0] == 200
    assert gateway.ask("GET", "/admin/config", CLIENT)[0] in (401, 403)
    status, figures = gateway.ask("GET", "/metrics", METRICS)
    assert status == 200
    assert b"tiergate_redis_up" in figures  # there is none without REDIS_URL
    assert (gateway.data / "mounted.db").exists()
    assert not (gateway.data / "secret").exists()  # TIERGATE_SECRET is the root secret


def test_a_provider_key_that_changes_in_its_file_takes_effect_without_a_restart(
    gateway: MountedGateway, upstream: Upstream
) -> None:
    """Kubernetes swaps the folder of a link; no call fails, and no key is in the log."""
    seen = set[str | None]()
    next_key = "sk-acme-0123456789-second"

    def send_next_key() -> bool:
        assert gateway.call() == 200
        seen.add(upstream.arrived().header("authorization"))
        return f"Bearer {next_key}" in seen

    assert not send_next_key()
    mount_secrets(gateway.secrets, 2, **{**SECRETS, "ACME_API_KEY": f"{next_key}\n"})
    until(send_next_key, "the new key is used")
    assert seen == {"Bearer sk-acme-0123456789-first", f"Bearer {next_key}"}
    until(lambda: gateway.child.err.count('"event":"config"') >= 2, "both workers have it")
    seen.clear()
    for _ in range(8):
        send_next_key()
    assert seen == {f"Bearer {next_key}"}
    assert "sk-acme" not in gateway.child.err
    assert "sk-acme" not in gateway.child.out
