"""`tiergate doctor` names the gateway's own credentials in clouds, and their ends."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from tests.cli.run import config, run
from tests.e2e.upstream import Answer, Upstream, failing
from tests.e2e.world import Loop

CONFIG = """\
version: 1
providers:
  cloud:
    base_url: "{url}/v1"
    dialects: {{openai-chat: /chat}}
    auth: azure
  off: {{base_url: "{url}/off", dialects: {{openai-chat: /chat}}, auth: azure, enable: ""}}
labs:
  cloud: {{fast: [{{model: m}}], smart: [{{model: m}}], reasoning: [{{model: m}}]}}
models:
  m: {{context: 4096, max_output: 64, price: {{input: 1, output: 1}}}}
"""
IMDS = "/metadata/identity/oauth2/token"
TOKEN = "azure-token-never-shown-0123456789"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())
    loop.close()


def run_doctor(folder: Path, upstream: Upstream, *words: str) -> list[dict[str, Any]]:
    """Run `doctor --json`; return its findings about credentials and targets."""
    environ = {
        "TIERGATE_DATA": str(folder / "data"), "AZURE_POD_IDENTITY_AUTHORITY_HOST": upstream.url,
    }  # fmt: skip
    file = config(folder, CONFIG.format(url=upstream.url))
    result = run("--config", file, "doctor", "--json", *words, environ=environ)
    assert TOKEN not in result.output
    findings: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return [item for item in findings if item["what"] in ("credentials", "targets")]


def issue(upstream: Upstream) -> None:
    """Let the metadata service give a token for an hour."""
    token = {"access_token": TOKEN, "client_id": "client-1", "expires_in": "3600"}
    upstream.on(IMDS, failing(400), Answer(pieces=(jsonio.dumps(token),)))


def test_doctor_names_the_credential_and_its_end(tmp_path: Path, upstream: Upstream) -> None:
    issue(upstream)
    (finding,) = run_doctor(tmp_path, upstream)
    end = time.strftime("%Y-%m-%d %H:", time.gmtime(time.time() + 3600))
    assert finding["level"] == "ok"
    assert finding["message"].startswith(
        "cloud: the credential of client-1 from Azure, managed identity (IMDS), valid until "
    )
    assert end[:10] in finding["message"]


def test_doctor_says_what_each_source_lacks(tmp_path: Path, upstream: Upstream) -> None:
    upstream.on(IMDS, failing(400))
    (finding,) = run_doctor(tmp_path, upstream)
    assert (finding["level"], finding["where"]) == ("error", "providers.cloud.auth")
    assert "AZURE_CLIENT_SECRET" in finding["message"]
    assert "managed identity (IMDS): " in finding["message"]


def test_doctor_asks_targets_with_the_credential(tmp_path: Path, upstream: Upstream) -> None:
    issue(upstream)
    findings = run_doctor(tmp_path, upstream, "--ask")
    assert [item["level"] for item in findings] == ["ok"] * len(findings)
    requests = [item for item in upstream.requests if item.path == "/v1/chat"]
    assert [item.header("authorization") for item in requests] == [f"Bearer {TOKEN}"]
