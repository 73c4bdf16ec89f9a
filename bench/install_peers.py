"""Install other gateways for the benchmark, into a folder of the user outside of the tree.

    python -m bench.install_peers

installs those from a registry, each in a pinned version and into a folder of its own. The project
needs none of them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import machine
from bench.machine import Missing

ROOT = Path(__file__).parent.parent
REFUSED = frozenset({"litellm==1.82.7", "litellm==1.82.8", "litellm==1.107.0"})
"""Releases that carried malware."""


class PeerPackage(msgspec.Struct, frozen=True):
    """An installation: the requirement, its registry, and the program that it brings."""

    name: str
    version: str
    requirement: str
    program: str
    npm: bool = False
    python: tuple[int, int] = (3, 12)

    @property
    def folder(self) -> Path:
        """Return its own folder."""
        return install_folder() / f"{self.name}-{self.version}"

    def find(self) -> Path:
        """Return its program; raise `Missing` with the command that installs it."""
        path = self.folder / self.program
        if not path.exists():
            raise Missing(f"{self.name} is not installed; install it with: make bench-peers")
        return path


PEER_PACKAGES = {
    package.name: package
    for package in (
        PeerPackage("ferrogw", "1.5.10", "ferrogw==1.5.10", "bin/ferrogw"),
        PeerPackage("airmux", "0.2.13", "airmux==0.2.13", "bin/airmux", python=(3, 13)),
        # The newest whose parts for the proxy are all on PyPI; 1.108.8 to 1.110.2 miss some.
        PeerPackage("litellm", "1.108.7", "litellm[proxy]==1.108.7", "bin/litellm"),
        PeerPackage("rolter", "0.1.0", "rolter==0.1.0", "bin/rolter"),
        PeerPackage("smg", "1.13.0", "smg==1.13.0", "bin/smg"),
        PeerPackage("vllm-router", "0.1.17", "vllm-router==0.1.17", "bin/vllm-router"),
        PeerPackage("firstpass", "0.9.0", "firstpass==0.9.0", "bin/firstpass-proxy"),
        PeerPackage(
            "portkey",
            "1.15.2",
            "@portkey-ai/gateway@1.15.2",
            "node_modules/@portkey-ai/gateway/build/start-server.js",
            npm=True,
        ),
    )
}

type Run = Callable[[list[str]], None]


def install_folder() -> Path:
    """Return `tiergate-bench` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "tiergate-bench"


def run(command: list[str]) -> None:
    """Run a command; raise `Missing` with the end of its output if it fails."""
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except OSError as error:
        raise Missing(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        errors = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise Missing(f"{' '.join(command)} failed: {' '.join(errors)}")


def install(package: PeerPackage, run: Run = run) -> None:
    """Install it if it is not there; raise `Missing` with the reason if that fails."""
    if (package.folder / package.program).exists():
        return
    plain = package.requirement.replace("[proxy]", "")
    if plain in REFUSED:
        raise Missing(f"{plain} carried malware and is not installed")
    shutil.rmtree(package.folder, ignore_errors=True)
    package.folder.mkdir(parents=True)
    try:
        for command in commands(package):
            run(command)
    except BaseException:
        # The bench would take half an installation for a whole one.
        shutil.rmtree(package.folder, ignore_errors=True)
        raise
    package.find()


def commands(package: PeerPackage) -> list[list[str]]:
    """Return the commands that install it; raise `Missing` if a tool is not there."""
    place = str(package.folder)
    if package.npm:
        machine.find("node")
        npm = machine.find("npm")
        quiet = ["--no-fund", "--no-audit", "--ignore-scripts"]
        return [[npm, "install", *quiet, "--prefix", place, package.requirement]]
    python = sys.executable
    if sys.version_info[:2] < package.python:
        python = machine.find(f"python{'.'.join(map(str, package.python))}")
    inside = f"{place}/bin/python"
    own = ROOT / ".tools" / "bin" / "uv"
    if uv := shutil.which("uv") or (str(own) if own.exists() else None):
        return [
            [uv, "venv", "--quiet", "--python", python, place, "--allow-existing"],
            [
                uv,
                "pip",
                "install",
                "--no-config",
                "--quiet",
                "--python",
                inside,
                package.requirement,
            ],
        ]
    return [
        [python, "-m", "venv", place],
        [inside, "-m", "pip", "install", "--quiet", package.requirement],
    ]


def main() -> int:
    """Install all; return the exit status, 1 if one failed."""
    status = 0
    for package in PEER_PACKAGES.values():
        try:
            install(package)
        except Missing as missing:
            status = 1
            sys.stdout.write(f"{package.name}: {missing}\n")
        else:
            sys.stdout.write(f"{package.name} {package.version} is in {package.folder}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
