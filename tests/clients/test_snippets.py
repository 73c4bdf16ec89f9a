"""Run the examples of the pages about more frameworks and more agents, as they stand there."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.program import NODE, PYTHON, ROOT, needs, run
from tests.docs import pages
from tests.docs.stage import ANSWER, DocumentedGateway, stage
from tests.e2e.claude_code import QUIET as SILENT
from tests.e2e.world import Loop

FRAMEWORKS = pages.sections(ROOT / "docs/clients/frameworks.md")
AGENTS = pages.sections(ROOT / "docs/clients/agents.md")
APART = {
    "LlamaIndex": "llama_index",
    "Instructor": "instructor",
    "DSPy": "dspy",
    "CrewAI": "crewai",
}
"""Frameworks that have an environment of their own, with its name."""
FILES = {
    "Gemini CLI": ".gemini/settings.json",
    "aider": ".aider.conf.yml",
    "Continue": ".continue/config.yaml",
}
"""Agents that read a file of settings, with its place below the home."""
PROGRAMS = {
    "Gemini CLI": NODE / ".bin/gemini",
    "Qwen Code": NODE / ".bin/qwen",
    "aider": PYTHON.parents[2] / "aider/bin/aider",
    "Continue": NODE / ".bin/cn",
    "Cline": NODE / ".bin/cline",
}
ALONE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CONTINUE_TELEMETRY_ENABLED": "0",
    "GEMINI_CLI_TRUST_WORKSPACE": "true",
    "AIDER_ANALYTICS": "false",
    "AIDER_CHECK_UPDATE": "false",
    "AIDER_GIT": "false",
    "AIDER_YES_ALWAYS": "true",
}
"""Variables that keep these programs from other hosts and from questions."""


@pytest.fixture(scope="module")
def place(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentedGateway]:
    with stage(loop, tmp_path_factory.mktemp("stage"), strict=False) as made:
        yield made


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_framework(place: DocumentedGateway, tmp_path: Path, name: str) -> None:
    (block,) = FRAMEWORKS[name]
    python = PYTHON.parents[2] / APART.get(name, "frameworks") / "bin/python"
    needs(python)
    ran = run([str(python), "-c", place.here(block.text)], tmp_path, **ALONE)
    assert ran.code == 0, ran.out + ran.err
    assert (ANSWER if name != "Instructor" else "Lyon 2") in ran.out, ran.out + ran.err
    calls = len(place.asked())
    assert calls == (2 if "def weather" in block.text else 1)


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent(place: DocumentedGateway, tmp_path: Path, name: str) -> None:
    """The agent answers by the settings of its page alone, in the file that the page names."""
    program = PROGRAMS[name]
    needs(program)
    *settings, script = AGENTS[name]
    assert len(settings) == (name in FILES)
    for block in settings:
        there = tmp_path / "home" / FILES[name]
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(place.here(block.text), "utf-8")
    path = f"{program.parent}:{os.environ['PATH']}"
    words = ["sh", "-eu", "-c", place.here(script.text)]
    ran = run(words, tmp_path, PATH=path, **SILENT | ALONE)
    assert ran.code == 0, ran.out + ran.err
    assert ANSWER in ran.out, ran.out + ran.err
    assert place.asked()


def test_each_page_names_the_files() -> None:
    text = (ROOT / "docs/clients/agents.md").read_text("utf-8")
    for name, file in FILES.items():
        assert re.search(rf"## {name}\n\n`(~/)?{re.escape(file)}`", text), name
