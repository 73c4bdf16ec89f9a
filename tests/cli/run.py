"""The command line as people start it: in this process, or as a separate program."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli

GOOD = """\
version: 1
default: {lab: acme}
providers:
  acme:
    base_url: https://acme.example/v1
    dialects: {openai-chat: /chat/completions}
    accounts: {main: "${ACME_API_KEY}"}
labs:
  acme:
    fast: [{model: small}]
    smart: [{model: large}]
    reasoning: [{model: huge}]
models:
  small: {tools: false, price: {input: 1, output: 2}}
  large: {price: {input: 3, output: 4}}
  huge: {tools: false, price: {input: 5, output: 6}}
guards:
- {name: drafts are cheap, when: {tag: draft}, max_tier: fast}
choices:
- {name: proofs, when: {keywords: prove}, tier: reasoning}
"""
ON = {"ACME_API_KEY": "sk-acme-0123456789"}


def config(folder: Path, text: str = GOOD) -> Path:
    file = folder / "c.yaml"
    file.write_text(text, "utf-8")
    return file


def run(
    *words: str | Path, environ: Mapping[str, str] = ON, stdin: bytes | str | None = None
) -> Result:
    """Run a command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return CliRunner().invoke(
            cli, [str(word) for word in words], input=stdin, prog_name="tiergate"
        )


def program(
    *words: str | Path, environ: Mapping[str, str] = ON, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `python -m gateway` as a shell would, with nothing else in its environment."""
    root = str(Path(__file__).parents[2])
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *(str(word) for word in words)],
        env={**keep, "PYTHONPATH": root, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
