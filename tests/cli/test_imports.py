"""The modules that a command imports: each costs every start of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.settings.world import BASE

_SERVING = """
import sys
import gateway.cli.serve.start, gateway.server.app, fastapi
import fastapi.openapi.models as models, pydantic
built = models.OpenAPI.__pydantic_complete__
app = fastapi.FastAPI()
@app.get("/{name}")
def item(name: str, size: int = 1) -> fastapi.Response: ...
app.openapi()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"re2", "genai_prices", "redis"}))
optional = ("gateway.evaluation", "gateway.importers", "gateway.local_model")
print(sorted(name for name in sys.modules if name.startswith(optional)))
print(built, models.OpenAPI.__pydantic_complete__, pydantic.BaseModel.model_config)
"""
_COMMAND = """
import sys
from gateway.cli import main
sys.argv = ["tiergate", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print(f"exit {end.code}", *sys.modules, sep="\\n", file=sys.stderr)
"""

NETWORK = {"fastapi", "httpx", "opentelemetry", "redis", "uvicorn", "gateway.upstream"}
"""What only a program that serves or asks a provider needs."""
DECIDING = {"gateway.dialects", "gateway.routing", "gateway.runtime"}
"""What only a decision needs."""
LEDGER = {"sqlite3", "gateway.ledger"}
READING = {"pydantic", "ruamel"}
"""What only the configuration needs."""


def _run(program: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "ACME_API_KEY": "never-used"},
        capture_output=True,
        text=True,
        check=True,
    )


def test_serve_imports_optional_libraries_only_when_it_needs_them() -> None:
    """A gateway without patterns, list prices or Redis imports none of their libraries.

    It imports no optional packages either.

    FastAPI builds its OpenAPI models only when a document is requested. No other models are
    deferred in this way.
    """
    process = _run(_SERVING, folder=Path(__file__).parents[2])
    assert process.stdout.splitlines() == ["[]", "[]", "False True {}"]


@pytest.mark.parametrize(
    ("command", "heavy"),
    [
        ("--help", NETWORK | DECIDING | LEDGER | READING | {"gateway.cli.session"}),
        ("check", NETWORK | {"gateway.ledger.sqlite"}),
        ("keys list", NETWORK | DECIDING | LEDGER | {"asyncio"}),
        ("explain hello", NETWORK | {"asyncio", "sqlite3"}),
        ("costs", NETWORK | {"asyncio", "gateway.dialects", "gateway.runtime", "sqlite3"}),
        ("doctor", NETWORK),
        ("dial", NETWORK | {"sqlite3"}),
        ("completion bash", NETWORK | DECIDING | LEDGER),
        ("serve --help", NETWORK | DECIDING | LEDGER),
        ("init --help", NETWORK | {"sqlite3"}),
    ],
)
def test_a_command_imports_only_what_it_needs(
    command: str, heavy: set[str], tmp_path: Path
) -> None:
    """A command without Redis, a ledger or a provider to ask imports nothing for them."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "gateway.yaml").write_text(f"{BASE}keys: keys.yaml\n")
    (folder / "keys.yaml").write_text("")
    errors = _run(_COMMAND, *command.split(), folder=tmp_path).stderr
    modules = errors.partition("exit ")[2].splitlines()
    assert "click" in modules, errors
    assert sorted(heavy.intersection(modules)) == []
