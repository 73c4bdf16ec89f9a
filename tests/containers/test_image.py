"""The Dockerfile builds a small image that runs as an unprivileged user and has a health check."""

import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from bench.free_port import find_free_port
from gateway.settings.environment import find_config_file
from gateway.settings.loader import load
from tests.containers import files
from tests.containers.files import ROOT, DockerfileStage

BASE, BUILD, FINAL = files.stages()
"""Three stages; a fourth one needs new tests here."""

CONFIG = """\
version: 1
providers:
  mine: {base_url: "http://127.0.0.1:9/v1", dialects: {openai-chat: /chat/completions}, auth: none}
labs:
  mine: {fast: [{model: m}], smart: [{model: m}], reasoning: [{model: m}]}
models:
  m: {context: 4096, price: {input: 0, output: 0}}
"""


def project() -> dict[str, dict[str, dict[str, object]]]:
    return tomllib.loads(files.text("pyproject.toml"))


def test_the_default_python_is_one_the_project_takes() -> None:
    given = re.search(
        r"^ARG BASE=python:3\.(\d+)-slim(@sha256:[0-9a-f]{64})?$",
        files.text("Dockerfile"),
        re.MULTILINE,
    )
    assert given
    least = str(project()["project"]["requires-python"]).removeprefix(">=3.")
    assert int(given[1]) >= int(least)


def test_one_argument_names_the_base_of_all_stages() -> None:
    """A machine without that image builds on another one: --build-arg BASE=..."""
    assert [stage.base for stage in (BASE, BUILD, FINAL)] == ["${BASE}", "base", "base"]
    assert [run for run in BUILD.all("RUN") + FINAL.all("RUN") if "apt-get" in run] == []


def test_uv_is_one_version_here_and_in_setup_and_installed_by_hash() -> None:
    """A newer uv that behaves differently changes nothing until somebody adopts it."""
    pin = re.search(r"^uv==(\d+\.\d+\.\d+) \\$", files.text("scripts/uv.txt"), re.MULTILINE)
    assert pin
    (made,) = [run for run in BUILD.all("RUN") if "pip install" in run]
    option = "--require-hashes --only-binary :all: --requirement scripts/uv.txt"
    assert made.endswith(option)
    assert option in files.text("scripts/setup")
    least = str(tomllib.loads(files.text("pyproject.toml"))["tool"]["uv"]["required-version"])
    assert Version(pin[1]) in SpecifierSet(least)


def test_only_copied_files_reach_the_build() -> None:
    ignored = [line for line in files.text(".dockerignore").splitlines() if line[:1] != "#"]
    assert ignored[0] == "*"
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {source for rest in BUILD.all("COPY") for source in rest.split()[:-1]}
    assert copied == let_in
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_what_the_project_is_packed_from_is_copied() -> None:
    copied = {source for rest in BUILD.all("COPY") for source in rest.split()[:-1]}
    tables = tomllib.loads(files.text("pyproject.toml"))
    packed = tables["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
    named = [tables["project"]["readme"], *tables["project"]["license-files"]]
    assert "docs/row.schema.json" in packed
    apart = {name for name in named if name.partition("/")[0] not in packed}
    paths = {"scripts/sbom.py", "scripts/uv.txt"}  # writes the SBOM; uv
    assert {*packed, *apart, *paths, "pyproject.toml", "uv.lock"} == copied


def test_it_runs_as_a_user_by_number_that_owns_the_data_folder() -> None:
    user, _, group = FINAL.one("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    data = FINAL.env["TIERGATE_DATA"]
    assert json.loads(FINAL.one("VOLUME")) == [data]
    made = " ".join(FINAL.all("RUN"))
    assert f"--uid {user} " in made
    assert f"install -d -o {user} -g {group} -m 0700 {data}" in made
    instructions = [word for word, _ in FINAL.steps]
    assert "RUN" not in instructions[instructions.index("USER") :], "what it runs is root's"


def test_the_exposed_port_is_the_shipped_one() -> None:
    config = load(find_config_file(str(ROOT / "config" / "gateway.yaml"), {}), {}).config
    assert FINAL.one("EXPOSE") == str(config.server.port)
    assert f"or {config.server.port})" in files.probe(FINAL)[-1]


def check(stage: DockerfileStage, port: int) -> int:
    """Return the exit status of the HEALTHCHECK; the environment has a proxy that leads nowhere."""
    program, *rest = files.probe(stage)
    assert program == "python"
    nowhere = "http://127.0.0.1:9"
    environ = {**os.environ, "TIERGATE_SERVER__PORT": str(port), "HTTP_PROXY": nowhere}
    environ["http_proxy"] = nowhere
    ran = subprocess.run(
        [sys.executable, *rest], env=environ, capture_output=True, timeout=30, check=False
    )
    return ran.returncode


@contextmanager
def running(folder: Path, port: int) -> Iterator[None]:
    """Run the gateway on a port of loopback."""
    config = folder / "gateway.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    environ = {**os.environ, "TIERGATE_DATA": str(folder / "data"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "gateway", "--config", str(config), "serve"]
    with subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout
            output = ""
            for line in process.stdout:
                output += line
                if f":{port}" in line:
                    break
            else:
                pytest.fail(f"it did not start:\n{output}")
            yield
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_the_health_check_passes_beside_a_running_gateway_and_fails_without(tmp_path: Path) -> None:
    port = find_free_port()
    with running(tmp_path, port):
        assert check(FINAL, port) == 0
    assert check(FINAL, port) != 0


def test_the_health_check_fails_where_the_answer_is_no() -> None:
    class No(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(503)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), No) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert check(FINAL, server.server_port) == 1
        thread.join(timeout=30)


def test_the_script_says_in_one_line_that_no_engine_is_here(tmp_path: Path) -> None:
    for program in ("dirname", "id", "sed"):
        (tmp_path / program).symlink_to(next(Path("/").glob(f"*/bin/{program}"), f"/bin/{program}"))
    ran = subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "containers")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    output = "containers: not run: no engine (docker or podman) is running here\n"
    assert (ran.stdout, ran.stderr, ran.returncode) == (output, "", 0)
