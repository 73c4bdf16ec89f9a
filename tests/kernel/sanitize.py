"""Builds of the classifier's C with driver.c, and what they print."""

import os
import shlex
import subprocess
from pathlib import Path

import hatch_build
from gateway.routing.classifier.native import text

DRIVER = Path(__file__).with_name("driver.c")
_WARNED = shlex.split(
    "-Wall -Wextra -Wpedantic -Werror -Wconversion -Wshadow -Wvla -Wstrict-prototypes -Wundef"
    " -Wpointer-arith -Wwrite-strings"
)
_WATCHED = shlex.split(
    "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
    " -ftrivial-auto-var-init=pattern"  # what was not set is not 0
)


def watched(folder: Path, sources: Path) -> Path:
    """The driver with these sources, where every byte out of place ends it; no warning is let through."""
    return _build(folder / "watched", sources, [*_WARNED, *_WATCHED])


def plain(folder: Path, sources: Path) -> Path:
    """The same, compiled as it is installed."""
    return _build(folder / "plain", sources, hatch_build.HARD)


def lists(folder: Path) -> Path:
    """A file of the gateway's own lists, as the library takes them."""
    file = folder / "lists"
    file.write_bytes(b"".join(text._records()))
    return file


def run(program: Path, seed: int, rounds: int, own: Path) -> str:
    """What it prints. Raises CalledProcessError, and its standard error has the report."""
    words = [str(program), str(seed), str(rounds), str(own)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
    return done.stdout


def _build(program: Path, sources: Path, flags: list[str]) -> Path:
    kept = [flag for flag in hatch_build.FLAGS if flag not in ("-shared", "-fPIC")]
    files = [*sorted(map(str, sources.glob("*.c"))), str(DRIVER)]
    words = [*hatch_build.compiler(os.environ), *kept, *flags, f"-I{sources}", *files]
    done = subprocess.run(
        [*words, "-o", str(program), "-lm"], capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}\n{done.stderr}")
    return program
