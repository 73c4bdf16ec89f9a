"""Send requests that our OpenAPI document allows and forbids, by schemathesis: `python -m
tests.server.openapi [N]`.

It asks a gateway as users start it, and checks each answer against the document: no 5xx, and only
documented statuses, content types and shapes. The gateway refuses what the document forbids, takes
what it allows, and opens no endpoint without a key.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from tests.e2e.upstream import Upstream
from tests.e2e.world import Loop
from tests.hostile.trial import ADMIN_KEY
from tests.server.conftest import claude, google, replies
from tests.server.gate import CLIENT_KEY, KEYS, Gate

SEED = 17
NAMES = {
    "/v1/chat/completions": "able-1", "/v1/messages": "claude-haiku-9", "/v1/messages/count_tokens": "claude-haiku-9",
    "/v1/responses": "reply-9",
}  # fmt: skip
"""For each endpoint a native model, so that the request reaches the provider unchanged."""
UNTOLD = (
    "POST /v1/messages",
    "POST /v1/route",
    "POST /v1/feedback",
    "POST /v1/embeddings",
    "GET /v1/usage",
    "GET /admin/costs",
    "GET /admin/entries",
    "GET /admin/conversations",
    "GET /admin/arms",
    "GET /admin/month",
    "POST /admin/entries/{name}/rating",
    "GET /admin/dial",
    "GET /admin/rules",
    "POST /admin/replay",
    "GET /admin/series",
    "GET /admin/latency",
    "GET /admin/audit",
    "GET /admin/keys",
    "POST /admin/keys",
    "PATCH /admin/keys/{name}",
    "POST /admin/keys/{name}/rotate",
)
"""Operations whose schema cannot express every error: 9.0 is not 9, a body depends on its dialect,
and calls, a lab's models, dates and lists of names must exist.
"""
_COUNTS = re.compile(r"(\d+) generated(?:, (\d+) passed|, (\d+) found)?")


def prepare_document(document: dict[str, Any]) -> dict[str, Any]:
    """Replace text for models by names that are served; keep one kind of key."""
    document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"bearer": []}]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "model":
                    parameter["schema"] = {"enum": ["gem-9"]}
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if path in NAMES:
                body["schema"]["properties"]["model"] = {"enum": [NAMES[path]]}
    return document


def run(gate: Gate, folder: Path, examples: int, key: str, *more: str) -> tuple[int, str]:
    """Run schemathesis; return the number of requests, and its findings or an empty text."""
    file, settings = folder / "openapi.json", folder / "schemathesis.toml"
    file.write_bytes(jsonio.dumps(prepare_document(gate.ask("/openapi.json", method="GET").json)))
    settings.write_text(
        "\n".join(
            f'[[operations]]\ninclude-name = "{name}"\nchecks.positive_data_acceptance.enabled = false'
            for name in UNTOLD
        ),
        "utf-8",
    )
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", str(file),
        "--url", f"http://127.0.0.1:{gate.port}", "-H", f"Authorization: Bearer {key}", "--max-examples", str(examples),
        "--generation-deterministic", "--suppress-health-check", "all", "--phases", "coverage,fuzzing", "--no-color", *more,
    ]  # fmt: skip
    process = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    counts = _COUNTS.search(process.stdout)
    if counts is None:
        return 0, process.stdout + process.stderr
    return int(counts[1]), "" if process.returncode == 0 else process.stdout[
        process.stdout.find("FAILURES") :
    ]


def clients(gate: Gate, folder: Path, examples: int) -> tuple[int, str]:
    """Test all paths except /admin, with a client's key."""
    return run(gate, folder, examples, CLIENT_KEY, "--exclude-path-regex", "^/admin")


def admins(gate: Gate, folder: Path, examples: int) -> tuple[int, str]:
    """Test /admin, with the admin's key."""
    return run(gate, folder, examples, ADMIN_KEY, "--include-path-regex", "^/admin")


def main(examples: int) -> int:
    """Print counts and findings; return 0 if there are no findings."""
    loop, provider = Loop(), Upstream()
    loop.run(provider.start())
    for prefix, script in (("/claude", claude), ("/reply", replies), ("/google", google)):
        provider.on(prefix, script)
    all_findings = ""
    with tempfile.TemporaryDirectory(prefix="tiergate-openapi-") as name:
        gate = Gate(
            Path(name) / "gateway", provider.url, TIERGATE_KEYS=KEYS, TIERGATE_ADMIN_KEY=ADMIN_KEY
        )
        try:
            for kind in (clients, admins):
                count, findings = kind(gate, Path(name), examples)
                print(
                    f"{kind.__name__}: {count} requests{', and this:' if findings else ', nothing wrong'}\n{findings}"
                )
                all_findings += findings
            bugs = [row for row in gate.rows() if row["event"] in ("bug", "library")]
            print(f"{len(bugs)} bugs in the log")
        finally:
            gate.stop()
            loop.run(provider.stop())
            loop.close()
    return 1 if all_findings or bugs else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 300))
