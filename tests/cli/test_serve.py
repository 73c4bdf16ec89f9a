"""`tiergate serve`: why it will not start in one line, and what it says where it does."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.run import GOOD, ON, config, run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return config(tmp_path)


def refuse(*words: str | Path, **environ: str) -> str:
    """What is told where it does not start: one line, no traceback."""
    result = run(*words, environ={**ON, **environ})
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.count("\n") == 1
    return result.stderr.rstrip("\n")


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def test_a_port_that_is_taken_is_told(file: Path, data: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refuse("--config", file, "serve", "--port", str(port), TIERGATE_DATA=data)
    assert told == (
        f"Error: Cannot listen on 127.0.0.1, port {port}: another program listens there. "
        "Choose another with --port."
    )
    assert not Path(data).exists()


def test_an_address_that_is_not_this_machine_s_is_told(file: Path, data: str) -> None:
    told = refuse("--config", file, "serve", "--host", "192.0.2.1", TIERGATE_DATA=data)
    assert told == "Error: Cannot listen on 192.0.2.1, port 8484: cannot assign requested address."
    told = refuse("--config", file, "serve", "--host", "no.such.invalid", TIERGATE_DATA=data)
    assert told.startswith("Error: Cannot listen on no.such.invalid, port 8484: ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_open_keys_do_not_listen_beyond_this_machine(file: Path, data: str, host: str) -> None:
    told = refuse("--config", file, "serve", "--host", host, "--port", "0", TIERGATE_DATA=data)
    assert told == (
        f"{file}: error: server.host: `keys: open` would let everybody who reaches {host} spend "
        "money. Configure keys, or set server.open to true where something else guards it."
    ).replace(f"{file}:", f"{file}:1:")


def test_no_lab_on_is_told_with_what_to_set(file: Path, data: str) -> None:
    told = refuse("--config", file, "serve", "--port", "0", TIERGATE_DATA=data, ACME_API_KEY="")
    assert told == f"{file}:8: error: labs: no lab is on (acme: set ACME_API_KEY)."


def test_a_data_folder_that_cannot_be_written_is_told(file: Path, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("")
    folder = str(tmp_path / "blocked" / "data")
    told = refuse("--config", file, "serve", "--port", "0", TIERGATE_DATA=folder)
    assert told == (
        f"Error: The data folder {folder} cannot be used: not a directory. TIERGATE_DATA moves it."
    )


def test_a_store_that_is_none_is_told(tmp_path: Path, data: str) -> None:
    file = config(tmp_path, GOOD + "ledger: {store: 'mysql://x'}\n")
    told = refuse("--config", file, "serve", "--port", "0", TIERGATE_DATA=data)
    assert told == f"{file}:21: error: ledger.store: the ledger's store is written sqlite:///PATH."


@contextmanager
def serving(
    *words: str | Path, **environ: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A running program and the lines of its greeting."""
    command = [sys.executable, "-m", "gateway", *(str(word) for word in words)]
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command, env={**keep, **ON, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1", **environ},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        lines: list[str] = []
        try:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if line.startswith("  curl "):
                    break
            yield process, lines
        finally:
            watchdog.cancel()
            process.kill()


def test_it_says_where_it_is_and_what_it_serves_and_stops_when_told(
    tmp_path: Path, data: str
) -> None:
    text = GOOD.replace("  acme:\n    fast", "  acme:\n    about: A lab.\n    fast")
    text = text.replace("labs:\n", "labs:\n  other: {fast: [{provider: off, model: small}]}\n")
    text = text.replace(
        "labs:\n",
        "  off: {base_url: 'https://x', dialects: {openai-chat: /}, accounts: {m: '${O_KEY}'}}\nlabs:\n",
    )
    file = config(tmp_path, text)
    with serving("--config", file, "serve", "--port", "0", TIERGATE_DATA=data) as (process, lines):
        match = re.fullmatch(
            r"tiergate (\S+) on (http://127\.0\.0\.1:\d+)  \(OpenAI SDKs: base_url=\2/v1\)",
            lines[0],
        )
        assert match is not None, lines
        url = match[2]
        assert lines[1:6] == [
            "",
            "  on  * acme   fast small, smart large, reasoning huge",
            "               A lab.",
            "  off   other  set O_KEY",
            "",
        ]
        assert lines[6] == "  keys    none needed (keys: open)"
        assert lines[-1].startswith(f"  curl {url}/v1/chat/completions -d '")
        told = httpx.get(f"{url}/health", trust_env=False).json()
        assert told["status"] == "ok"
        body = {"model": "auto", "messages": [{"role": "user", "content": "Prove it."}]}
        route = httpx.post(f"{url}/v1/route", json=body, trust_env=False).json()
        assert (route["tier"], route["rule"]) == ("reasoning", "proofs")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert "Aborted" not in errors
    assert process.returncode == 0
