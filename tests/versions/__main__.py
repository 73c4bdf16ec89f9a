"""`make versions`: run a part of the suite on each Python that the project allows, with two servers.

    python -m tests.versions [TEST...]

Each Python gets an environment of its own below .tools/versions, from uv.lock. In it the suite runs
twice: with the oldest uvicorn that pyproject.toml allows, and with the newest one of the index. If
the machine lacks a Python, the program names it and leaves it out. Exit status: 0 all passed,
1 something failed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.versions import bounds
from tests.versions.bounds import ROOT, SERVER

SUITE = (
    "tests/server",
    "tests/upstream",
    "tests/state",
    "tests/wire",
    "tests/e2e/test_openai_sdk.py",
)
"""Tests that run: those of the server and the event loop, and calls of real clients."""
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
_MAX_FAILURES = 20
"""Failures after which a run ends: with a server that does not fit, tests wait for answers in vain."""
_ENVIRONMENTS = ROOT / ".tools/versions"


def main(arguments: list[str]) -> int:
    """Run these tests, or the suite, and print a line for each run; return the exit status."""
    requirement = bounds.find_server(bounds.read_project())
    results = []
    for python, interpreter in choose_interpreters():
        environment = build_environment(python, interpreter)
        for name, resolution in RESOLUTIONS.items():
            version = install_server(environment, str(requirement), resolution)
            tell(f"Python {python}, the {name} {SERVER}, {version}")
            passed, summary = run_suite(environment, arguments or SUITE)
            results.append((passed, f"Python {python}, {SERVER} {version}: {summary}"))
    for passed, line in results:
        sys.stdout.write(f"{'ok    ' if passed else 'FAILED'}  {line}\n")
    return 0 if all(passed for passed, _ in results) else 1


def choose_interpreters() -> list[tuple[str, str]]:
    """Choose each Python that the project allows and this machine has, with its interpreter."""
    project, locked = bounds.read_project(), bounds.read_locked()
    pythons = bounds.list_pythons(project, locked)
    following = f"3.{int(pythons[-1].partition('.')[2]) + 1}"
    missing = ", ".join(bounds.list_missing_wheels(locked, following))
    tell(f"Python {pythons[0]} to {pythons[-1]}; {following} has no wheels of {missing}")
    there = {python: path for python in pythons if (path := find_interpreter(python))}
    for python in pythons:
        if python not in there:
            tell(
                f"Python {python} is not on this machine: install it to run it (uv python install {python})"
            )
    if not there:
        raise SystemExit("versions: no Python that pyproject.toml allows is on this machine")
    return list(there.items())


def find_interpreter(python: str) -> str:
    """Find the interpreter of a version; an empty text where there is none."""
    done = uv("python", "find", "--no-project", python, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def build_environment(python: str, interpreter: str) -> Path:
    """Make an environment from uv.lock, or bring the one that is there up to date."""
    environment = _ENVIRONMENTS / python
    tell(f"{environment.relative_to(ROOT)}: from uv.lock, with {interpreter}")
    uv(
        "sync", "--frozen", "--quiet", "--no-default-groups", "--extra", "prices", "--group", "dev",
        "--python", interpreter, environment=environment,
    )  # fmt: skip
    return environment


def install_server(environment: Path, requirement: str, resolution: str) -> str:
    """Install the oldest or the newest server that is allowed; return its version."""
    python = str(environment / "bin/python")
    uv(
        "pip", "install", "--quiet", "--upgrade", "--resolution", resolution, "--python", python,
        requirement,
    )  # fmt: skip
    ask = f"from importlib.metadata import version; print(version({SERVER!r}))"
    return subprocess.check_output([python, "-c", ask], text=True).strip()


def run_suite(environment: Path, tests: Sequence[str]) -> tuple[bool, str]:
    """Run tests in an environment; return True if all passed, and pytest's last line."""
    options = ["-q", "-p", "no:cacheprovider", f"--maxfail={_MAX_FAILURES}"]
    command = [str(environment / "bin/python"), "-m", "pytest", *options, *tests]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            sys.stdout.write(line)
            last = line.strip() or last
    return process.returncode == 0, last


def uv(
    *words: str, environment: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run uv: the one on PATH, else that of `make dev`. It downloads no interpreter."""
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    environ["UV_PYTHON_DOWNLOADS"] = "never"
    environ["PATH"] = os.pathsep.join([*map(str, pyenv_folders()), environ.get("PATH", os.defpath)])
    if environment is not None:
        environ["UV_PROJECT_ENVIRONMENT"] = str(environment)
    program = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    stderr = None if check else subprocess.DEVNULL
    return subprocess.run(
        [program, *words], cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=stderr, text=True, check=check
    )  # fmt: skip


def pyenv_folders() -> list[Path]:
    """List the folders of interpreters that pyenv has: it puts only the one in use on PATH."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return sorted(root.glob("versions/3.*/bin"), reverse=True)


def tell(text: str) -> None:
    """Write a progress line to stderr."""
    sys.stderr.write(f"versions: {text}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
