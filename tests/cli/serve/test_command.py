"""`tiergate serve`: it refuses to start with one line, or prints a greeting and serves."""

import fcntl
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
from typing import Any

import httpx
import pytest

from gateway.cli.serve import start
from gateway.core import jsonio
from tests.cli.run import GOOD, ON, config, run


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return config(tmp_path)


def refuse(*words: str | Path, **environ: str) -> str:
    """Run a command that refuses to start; return its one line of error, without a traceback."""
    result = run(*words, environ={**ON, **environ})
    assert (result.exit_code, result.stdout) == (1, "")
    assert isinstance(result.exception, SystemExit)
    assert result.stderr.count("\n") == 1
    return result.stderr.rstrip("\n")


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def test_serve_reports_a_port_in_use(config_file: Path, data: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        problem = refuse("--config", config_file, "serve", "--port", str(port), TIERGATE_DATA=data)
    assert problem == (
        f"Error: Cannot listen on 127.0.0.1, port {port}: another program listens there. "
        "Choose another with --port."
    )
    assert not Path(data).exists()


def test_serve_reports_an_address_of_another_machine(config_file: Path, data: str) -> None:
    problem = refuse("--config", config_file, "serve", "--host", "192.0.2.1", TIERGATE_DATA=data)
    assert (
        problem == "Error: Cannot listen on 192.0.2.1, port 8484: cannot assign requested address."
    )
    problem = refuse(
        "--config", config_file, "serve", "--host", "no.such.invalid", TIERGATE_DATA=data
    )
    assert problem.startswith("Error: Cannot listen on no.such.invalid, port 8484: ")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere connections do not inherit it")
def test_c_04_the_kernel_closes_connections_of_vanished_clients() -> None:
    """C-04: connections inherit the limits of the listening socket.

    The kernel closes a connection after 90 s without an acknowledgement, or 120 s of silence.
    """
    with start._open_sockets("127.0.0.1", 0, 60.0) as (listening,):
        listening.listen()
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            option_names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            options = [getattr(socket, name) for name in option_names]
            values = [connection.getsockopt(socket.IPPROTO_TCP, option) for option in options]
            assert values == [60, 15, 4, 90_000]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_open_keys_do_not_listen_beyond_this_machine(
    config_file: Path, data: str, host: str
) -> None:
    problem = refuse(
        "--config", config_file, "serve", "--host", host, "--port", "0", TIERGATE_DATA=data
    )
    assert problem == (
        f"{config_file}: error: server.host: `keys: open` would let every client that reaches {host} spend "
        "money. Configure keys, or set server.open to true if something else guards the gateway."
    ).replace(f"{config_file}:", f"{config_file}:1:")


def test_serve_says_which_variable_turns_a_lab_on(config_file: Path, data: str) -> None:
    problem = refuse(
        "--config", config_file, "serve", "--port", "0", TIERGATE_DATA=data, ACME_API_KEY=""
    )
    assert problem == f"{config_file}:8: error: labs: no lab is on (acme: set ACME_API_KEY)."


def test_serve_reports_a_data_folder_that_cannot_be_written(
    config_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "blocked").write_text("")
    folder = str(tmp_path / "blocked" / "data")
    problem = refuse("--config", config_file, "serve", "--port", "0", TIERGATE_DATA=folder)
    assert problem == (
        f"Error: The gateway cannot use the data folder {folder}: not a directory. Set another with TIERGATE_DATA."
    )


def test_serve_reports_a_store_of_an_unknown_kind(tmp_path: Path, data: str) -> None:
    file = config(tmp_path, GOOD + "ledger: {store: 'mysql://x'}\n")
    problem = refuse("--config", file, "serve", "--port", "0", TIERGATE_DATA=data)
    assert (
        problem == f"{file}:21: error: ledger.store: the ledger's store is written sqlite:///PATH."
    )


def test_serve_reports_a_wrong_redis_url_without_its_password(config_file: Path, data: str) -> None:
    url = "htp://:pass@x:1"
    problem = refuse(
        "--config", config_file, "serve", "--port", "0", TIERGATE_DATA=data, REDIS_URL=url
    )
    assert "REDIS_URL cannot be used" in problem
    assert "pass@" not in problem


def test_serve_needs_at_least_one_worker(config_file: Path, data: str) -> None:
    result = run(
        "--config", config_file, "serve", "--workers", "0", environ={**ON, "TIERGATE_DATA": data}
    )
    assert result.exit_code == 2
    assert "Invalid value for '--workers': 0 is not in the range x>=1." in result.stderr
    problem = refuse(
        "--config", config_file, "serve", TIERGATE_DATA=data, TIERGATE_SERVER__WORKERS="0"
    )
    assert problem.startswith("TIERGATE_SERVER__WORKERS: error: server.workers: ")


@contextmanager
def serving(
    *words: str | Path, cwd: Path | None = None, **environ: str
) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """Run the program, and yield it with the lines of its greeting."""
    arguments = [sys.executable, "-m", "gateway", *(str(word) for word in words)]
    keep = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    root = str(Path(__file__).parents[3])
    if cwd is not None:
        cwd.mkdir()
    with subprocess.Popen(
        arguments, cwd=cwd, env={
            **keep, **ON, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1",
            "TIERGATE_SERVER__LB_DELAY": "0", **environ,
        },
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


def test_serve_prints_its_address_and_labs_and_stops_on_a_signal(tmp_path: Path, data: str) -> None:
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
        assert lines[8] == f"  pages   {url} and {url}/dashboard"
        assert lines[-1].startswith(f"  curl {url}/v1/chat/completions -d '")
        health = httpx.get(f"{url}/health", trust_env=False).json()
        assert health["status"] == "ok"
        body = {"model": "auto", "messages": [{"role": "user", "content": "Prove it."}]}
        route = httpx.post(f"{url}/v1/route", json=body, trust_env=False).json()
        assert (route["tier"], route["rule"]) == ("reasoning", "proofs")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
    assert "Aborted" not in errors
    assert process.returncode == 0


def read_log_row(process: subprocess.Popen[str], text: str) -> dict[str, Any]:
    """Return the next line of the log with this text."""
    assert process.stderr is not None
    for line in process.stderr:
        row: dict[str, Any] = jsonio.loads(line.encode())
        if row.get("text") == text:
            return row
    raise AssertionError(f"{text!r} was never logged")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_workers_share_a_port_and_the_gateway_replaces_one_that_dies(
    config_file: Path, data: str, stop: signal.Signals
) -> None:
    words = ("--config", config_file, "serve", "--port", "0")
    with serving(*words, TIERGATE_DATA=data, TIERGATE_SERVER__WORKERS="2") as (process, lines):
        assert "  workers 2, each with a response cache of its own" in lines
        url = lines[0].split()[3]
        pids = [read_log_row(process, "started")["pid"] for _ in range(2)]
        os.kill(pids[0], signal.SIGKILL)
        ended = read_log_row(process, "ended")
        assert (ended["pid"], ended["status"]) == (pids[0], -signal.SIGKILL)
        pids[0] = read_log_row(process, "started")["pid"]
        assert httpx.get(f"{url}/health", trust_env=False).json()["status"] == "ok"
        process.send_signal(stop)
        out, errors = process.communicate(timeout=30)
    assert out.strip() == ""  # one greeting
    assert sorted(jsonio.loads(line.encode())["pid"] for line in errors.splitlines()) == sorted(
        pids
    )
    assert process.returncode == 0
    # A worker that has answered has closed its journal, which was empty.
    assert any(not list(Path(data, "ledger").glob(f"*-{pid}-*")) for pid in pids)


def test_workers_share_a_cache_with_redis(config_file: Path, data: str) -> None:
    words = ("--config", config_file, "serve", "--port", "0", "--workers", "2")
    with serving(*words, TIERGATE_DATA=data, REDIS_URL="redis://127.0.0.1:1") as (_, lines):
        assert "  workers 2" in lines


def test_a_local_engine_ends_with_its_worker(tmp_path: Path, data: str) -> None:
    """An engine in this test locks a file named after its worker, for as long as it lives."""
    program = (
        "import fcntl, os, sys; file = open(str(os.getppid()), 'w'); fcntl.flock(file, 2); "
        "print('ready http://x'); sys.stdin.read()"
    )
    engine = f'    command: ["{{python}}", "-uc", "{program}"]\n'
    file = config(tmp_path, GOOD.replace("    dialects:", f"{engine}    dialects:", 1))
    words = ("--config", file, "serve", "--port", "0", "--workers", "2")
    folder = tmp_path / "engines"
    with serving(*words, cwd=folder, TIERGATE_DATA=data) as (process, _):
        pids = [read_log_row(process, "started")["pid"] for _ in range(2)]
        for _ in pids:
            read_log_row(process, "acme: ready on http://x")
        with (
            (folder / f"{pids[0]}").open() as lock_of_killed,
            (folder / f"{pids[1]}").open() as lock_of_other,
        ):
            os.kill(pids[0], signal.SIGKILL)
            fcntl.flock(lock_of_killed, fcntl.LOCK_EX)  # waits until the engine ends
            with pytest.raises(BlockingIOError):
                fcntl.flock(lock_of_other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        new = read_log_row(process, "started")["pid"]
        read_log_row(process, "acme: ready on http://x")
        assert {path.name for path in folder.iterdir()} == {f"{pid}" for pid in (*pids, new)}


def test_the_first_start_makes_a_key_and_prints_it_once(config_file: Path, tmp_path: Path) -> None:
    """A container thus needs no key to start, and is never open to everybody."""
    data, key_file = tmp_path / "data", tmp_path / "data" / "keys.yaml"
    data.mkdir()
    words = ("--config", config_file, "serve", "--port", "0", "--host", "0.0.0.0", "--first-key")
    environ = {"TIERGATE_DATA": str(data), "TIERGATE_KEY_FILE": str(key_file)}
    with serving(*words, cwd=None, **environ) as (_, lines):
        (secret,) = re.findall(r"tg-[0-9a-f]{64}", "\n".join(lines))
        assert "  keys    1 known" in lines
        url = next(line for line in lines if line.startswith("tiergate ")).split()[3]
        url = url.replace("0.0.0.0", "127.0.0.1")
        models, headers = f"{url}/v1/models", {"authorization": f"Bearer {secret}"}
        assert httpx.get(models, trust_env=False).status_code == 401
        assert httpx.get(models, headers=headers, trust_env=False).status_code == 200
    text = key_file.read_text()
    assert secret[3:] not in text
    assert key_file.stat().st_mode & 0o777 == 0o600
    with serving(*words, cwd=None, **environ) as (_, lines):
        assert secret not in "\n".join(lines)
        assert not re.findall(r"tg-[0-9a-f]{64}", "\n".join(lines))
        assert "  keys    1 known" in lines
    assert key_file.read_text() == text


def test_keys_of_the_environment_need_no_first_key(config_file: Path, tmp_path: Path) -> None:
    """The configured key file still exists, so that `tiergate keys` can add to it."""
    key_file, key_line = tmp_path / "keys.yaml", f"ann={'0' * 64}"
    words = ("--config", config_file, "serve", "--port", "0", "--first-key")
    environ = {"TIERGATE_DATA": str(tmp_path), "TIERGATE_KEY_FILE": str(key_file)}
    with serving(*words, cwd=None, **environ, TIERGATE_KEYS=key_line) as (_, lines):
        assert not re.findall(r"tg-[0-9a-f]{64}", "\n".join(lines))
        assert "  keys    1 known" in lines
    assert key_file.read_text() == ""


def test_serve_reports_a_first_key_that_it_cannot_make(config_file: Path, data: str) -> None:
    words = ("--config", config_file, "serve", "--port", "0", "--first-key")
    assert "`keys` is open: there is no file of keys." in refuse(*words, TIERGATE_DATA=data)
    problem = refuse(*words, TIERGATE_DATA=data, TIERGATE_KEY_FILE="/nowhere/keys.yaml")
    assert problem == "Error: /nowhere/keys.yaml cannot be changed: no such file or directory."
