"""The wheel and the sdist, each installed in an empty environment, start and answer."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from gateway.core import jsonio
from tests.docs.pages import ROOT
from tests.e2e.child import GatewayChild
from tests.e2e.upstream import Upstream
from tests.e2e.world import chat, config
from tests.package.conftest import uv
from tests.package.test_contents import VERSION

LOCK = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
EXTRAS = (
    "genai-prices",
    "httpx2",
    "ruamel.yaml.clib",
    "h2",
    "socksio",
    "psycopg",
    "opentelemetry-sdk",
    "duckdb",
    "xllamacpp",
)
_MAC = """
# What macOS has not: names of Linux's kernel and C library, and its folders of figures.
import asyncio, ctypes, multiprocessing, os, select, signal, socket, ssl, subprocess, sys, sysconfig
import fastapi, httpx, redis, uvicorn, uvicorn.loops.uvloop, uvloop
sysconfig.get_config_vars()  # of the machine that this is
for module, names in {
    os: ("memfd_create", "fdatasync", "sched_getaffinity", "sched_setaffinity", "pidfd_open", "eventfd",
         "posix_fadvise", "posix_fallocate", "copy_file_range", "splice", "O_DIRECT", "O_TMPFILE"),
    socket: ("TCP_KEEPIDLE", "TCP_USER_TIMEOUT", "TCP_QUICKACK", "TCP_DEFER_ACCEPT", "TCP_INFO", "SO_PEERCRED", "AF_NETLINK"),
    select: ("epoll",),
    signal: ("SIGRTMIN", "SIGRTMAX", "SIGPWR", "SIGPOLL"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
def _library(name, *rest, **more):
    raise OSError("no library of this name")
ctypes.CDLL = _library
def _hook(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith(("/proc", "/sys")):
        raise FileNotFoundError(2, "there is no such folder", str(arguments[0]))
sys.addaudithook(_hook)
sys.platform = "darwin"
sys.argv[0] = "tiergate"
from gateway.cli import main
main()
"""


@pytest.fixture(scope="session", params=["wheel", "sdist"])
def installation(
    request: pytest.FixtureRequest, built: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An environment with the wheel or the sdist, at the locked versions, without extras."""
    folder = tmp_path_factory.mktemp(request.param)
    bounds = folder / "locked.txt"
    bounds.write_text("".join(f"{locked['name']}=={locked['version']}\n" for locked in LOCK if locked["name"] != "tiergate"))  # fmt: skip
    (file,) = (built / "wheel").glob("*.whl") if request.param == "wheel" else built.glob("*.gz")
    uv("venv", "--quiet", "--python", sys.executable, str(folder / "env"))
    python = str(folder / "env/bin/python")
    uv("pip", "install", "--quiet", "--python", python, "--constraint", str(bounds), str(file))
    return folder


def run(installation: Path, *words: str, status: int = 0, **environ: str) -> str:
    """Run a command of the installed program in an empty folder; return its output."""
    home = installation / "home"
    home.mkdir(exist_ok=True)
    base_environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TIERGATE_DATA": str(home / "data"),
    }
    process = subprocess.run(
        [installation / "env/bin" / words[0], *words[1:]], cwd=home, env={**base_environ, **environ},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert process.returncode == status, process.stdout + process.stderr
    return process.stdout


def test_the_installed_program_prints_its_version(installation: Path) -> None:
    assert run(installation, "tiergate", "--version").split()[-1] == VERSION
    assert run(installation, "python", "-m", "gateway", "--version").split()[-1] == VERSION


def test_an_installation_without_extras_has_none_of_their_packages(installation: Path) -> None:
    frozen = uv("pip", "freeze", "--python", str(installation / "env/bin/python"))
    names = {line.partition("==")[0].partition(" @")[0] for line in frozen.splitlines()}
    assert "tiergate" in names
    assert not names & set(EXTRAS)


def test_the_installed_program_checks_the_shipped_configuration(installation: Path) -> None:
    """`check` and `explain` use the shipped configuration, with the key of one provider."""
    assert run(installation, "tiergate", "check", OPENAI_API_KEY="sk-none")
    output = run(
        installation, "tiergate", "explain", "Prove that 2 is prime.", OPENAI_API_KEY="sk-none"
    )
    assert "reasoning" in output


def test_without_the_price_list_one_line_names_the_unknown_prices(installation: Path) -> None:
    """A configuration that leaves its prices to the list is valid; the shipped one needs no list."""
    output = run(installation, "tiergate", "check", OPENAI_API_KEY="sk-none")
    assert "tiergate[prices]" not in output
    (file,) = (installation / "env").glob("lib/python*/site-packages/gateway/_config/matrix.yaml")
    output = run(installation, "tiergate", "--config", str(file), "check", OPENAI_API_KEY="sk-none")
    (line,) = [line for line in output.splitlines() if "price" in line]
    assert "no prices are known of openai/gpt-6-luna, openai/gpt-6-sol, openai/gpt-6-astra" in line
    assert "pip install 'tiergate[prices]'" in line


@pytest.mark.parametrize("mac", [False, True])
def test_the_installed_program_serves_calls_also_without_linux_features(
    installation: Path, upstream: Upstream, tmp_path: Path, *, mac: bool
) -> None:
    """The program also starts where the features of Linux are missing."""
    file = tmp_path / "gateway.yaml"
    file.write_bytes(jsonio.dumps(config(upstream.url)))
    program = [str(installation / "env/bin/tiergate")]
    if mac:
        (tmp_path / "mac.py").write_text(_MAC)
        program = [str(installation / "env/bin/python"), str(tmp_path / "mac.py")]
    child = GatewayChild(file, program=program, PYTHONPATH="")  # not the source
    try:
        replies = [
            httpx.post(f"{child.url}/v1/chat/completions", json=body, timeout=20, trust_env=False)
            for body in (chat(), chat(stream=True))
        ]  # fmt: skip
        assert [reply.status_code for reply in replies] == [200, 200]
        assert replies[1].text.rstrip().endswith("[DONE]")
        for path in ("/health", "/ready", "/metrics", "/dashboard"):
            reply = httpx.get(
                f"{child.url}{path}", timeout=20, trust_env=False, follow_redirects=True
            )
            assert reply.status_code == 200, (path, reply.text)
    finally:
        child.stop()


def test_every_dependency_has_wheels_for_macs_and_small_linuxes() -> None:
    """Each dependency has one wheel for any machine, or one for each Mac and each C library of Linux."""
    by_name = {entry["name"]: entry for entry in LOCK}
    todo, seen = ["tiergate"], set[str]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += [dependency["name"] for dependency in by_name[name].get("dependencies", ())]
    assert len(seen) > 20
    for name in seen - {"tiergate"}:
        files = [entry["url"].rpartition("/")[2] for entry in by_name[name].get("wheels", ())]
        if any(entry.endswith(("-none-any.whl", "py3-none-any.whl")) for entry in files):
            continue
        for machine in ("macosx.*arm64|macosx.*universal2", "macosx.*x86_64|macosx.*universal2",
                        "manylinux.*x86_64", "manylinux.*aarch64"):  # fmt: skip
            matching = [entry for entry in files if re.search(machine, entry)]
            assert any(re.search(r"cp312-|cp313-|abi3", entry) for entry in matching), (
                name,
                machine,
            )
