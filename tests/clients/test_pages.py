"""Run examples of docs/clients that need programs or packages of their own, as they stand there."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core import jsonio
from tests.clients.agents import KEY
from tests.clients.program import NODE, PYTHON, QUIET, ROOT, Ran, needs, run
from tests.docs import pages
from tests.docs.stage import ANSWER, DocumentedGateway, stage
from tests.e2e.claude_code import QUIET as SILENT
from tests.e2e.claude_code import program as claude
from tests.e2e.world import Loop


@pytest.fixture(scope="module")
def place(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentedGateway]:
    with stage(loop, tmp_path_factory.mktemp("stage"), strict=False) as made:
        yield made


def blocks(kind: str, page: str = "") -> list[str]:
    """Return the blocks that no other test runs."""
    blocks = [block for block in pages.clients(kind) if page in block.page]
    return [block.text for block in blocks if kind != "python" or block.reason is not None]


def told(ran: Ran, place: DocumentedGateway, text: str) -> None:
    """Check that it printed the provider's answer, and did the task of the example."""
    assert ran.code == 0, ran.out + ran.err
    assert ANSWER in ran.out, ran.out + ran.err
    assert place.asked()
    if "weather" in text:
        assert "asked for" in ran.out
        assert "Lyon" in ran.out


@pytest.mark.parametrize("text", blocks("js"))
def test_a_program_of_node(place: DocumentedGateway, tmp_path: Path, text: str) -> None:
    needs(NODE)
    (tmp_path / "node_modules").symlink_to(NODE)
    (tmp_path / "example.mjs").write_text(place.here(text), "utf-8")
    told(run(["node", str(tmp_path / "example.mjs")], tmp_path), place, text)


@pytest.mark.parametrize("text", blocks("python", "langchain"))
def test_langchain(place: DocumentedGateway, tmp_path: Path, text: str) -> None:
    needs(PYTHON)
    told(run([str(PYTHON), "-c", place.here(text)], tmp_path), place, text)


def test_litellm_as_a_client(place: DocumentedGateway, tmp_path: Path) -> None:
    """LiteLLM runs in an environment of its own, which uv makes without a network."""
    (command,), (text,) = blocks("sh", "litellm"), blocks("python", "litellm")
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    needs(Path(uv))
    words = command.split()
    version = re.search(r"litellm==([\d.]+)", command)
    assert version is not None
    assert version[1] not in ("1.82.7", "1.82.8", "1.107.0")
    cache = ROOT / ".tools/clients/uv"
    needs(cache)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / words[-1]).write_text(place.here(text), "utf-8")
    offline = {
        "UV_CACHE_DIR": str(cache), "UV_OFFLINE": "1", "UV_PYTHON": str(ROOT / ".venv/bin/python"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }  # fmt: skip
    told(run([uv, *words[1:]], tmp_path, **offline), place, text)


AGENTS = {
    "claude-code": ("json", ".claude/settings.json"),
    "codex": ("toml", ".codex/config.toml"),
    "opencode": ("json", ".config/opencode/opencode.json"),
}
"""Agents by their page, with the format and the file of their settings."""


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent(place: DocumentedGateway, tmp_path: Path, name: str) -> None:
    """The agent runs with the settings of its page, in the file that the page names."""
    kind, file = AGENTS[name]
    (settings,), script = blocks(kind, name), blocks("sh", name)[0]
    if name == "claude-code":
        folder = Path(claude()).parent
    else:
        folder = NODE / ".bin"
        needs(folder / name)
    there = tmp_path / "home" / file
    there.parent.mkdir(parents=True)
    there.write_text(place.here(settings), "utf-8")
    path = f"{folder}:{os.environ['PATH']}"
    ran = run(["sh", "-eu", "-c", place.here(script)], tmp_path, PATH=path, **SILENT)
    told(ran, place, script)


def test_claude_code_by_its_settings_alone(place: DocumentedGateway, tmp_path: Path) -> None:
    there = tmp_path / "home/.claude/settings.json"
    there.parent.mkdir(parents=True)
    (settings,) = blocks("json", "claude-code")
    there.write_text(place.here(settings), "utf-8")
    ran = run([claude(), "-p", "Say hello."], tmp_path, **SILENT)
    told(ran, place, "")
    assert jsonio.loads(settings.encode())["env"]["ANTHROPIC_MODEL"] == "claude-auto"


def test_nothing_else_is_asked() -> None:
    """Programs that run here get neither a key nor a host of a provider."""
    assert QUIET["HTTPS_PROXY"] == "http://127.0.0.1:9"
    assert KEY == "unused"
