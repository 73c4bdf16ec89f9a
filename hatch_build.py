"""Compiles what the classifier has in C, as the package is built: hatchling calls it.

It needs a C compiler and no headers of Python. Where none is, or it fails, the package is one for
any machine, and all is done in Python. TIERGATE_KERNEL=off compiles nothing; =required fails then.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.builders.wheel import WheelBuilder, WheelBuilderConfig

FOLDER = Path("gateway/routing/classifier/native")
NAME = "kernel.so"
# A double is what C says it is: no fused multiplication, nothing reordered.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-fvisibility=hidden"]
HARD = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
LINUX = ["-Wl,-z,relro,-z,now,-z,noexecstack"]


class NotCompiled(Exception):
    """There is no library; the message says why."""


class KernelHook(BuildHookInterface[WheelBuilderConfig]):
    """Puts the library into the wheel, or for an editable installation beside its sources."""

    _made: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is made. Ends the build where there must be one and is none."""
        root, asked = Path(self.root), os.environ.get("TIERGATE_KERNEL", "")
        if asked not in ("", "off", "required"):
            self.app.abort(f"TIERGATE_KERNEL={asked} is neither off nor required.")
        beside = root / FOLDER / NAME
        try:
            if version == "editable":
                update(root, beside, os.environ)
                return
            self._made = tempfile.TemporaryDirectory()
            target = Path(self._made.name) / NAME
            make(root, target, os.environ)
        except NotCompiled as why:
            self._clean()
            if version == "editable":
                beside.unlink(missing_ok=True)  # it may be of other sources
            if asked == "required":
                self.app.abort(f"The classifier is not compiled: {why}.")
            self.app.display_warning(f"The classifier is not compiled: {why}.")
            return
        builder = self.build_config.builder
        assert isinstance(builder, WheelBuilder)  # noqa: S101 - pyproject.toml names the hook there
        platform = builder.get_best_matching_tag().rpartition("-")[2]
        build_data["tag"] = f"py3-none-{platform}"
        build_data["pure_python"] = False
        build_data["force_include"][str(target)] = str(FOLDER / NAME)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """After it."""
        self._clean()

    def _clean(self) -> None:
        if self._made is not None:
            self._made.cleanup()


def sources(root: Path) -> list[str]:
    """The files to compile, from the root, in the one order that makes the same library."""
    return sorted(str(file.relative_to(root)) for file in (root / FOLDER).glob("*.c"))


def update(root: Path, target: Path, environ: Mapping[str, str]) -> None:
    """Makes the library where it is not that of the sources. Raises NotCompiled."""
    files = [root / "hatch_build.py", *(root / FOLDER).glob("*.[ch]")]
    newest = max(file.stat().st_mtime_ns for file in files)
    there = environ.get("TIERGATE_KERNEL") != "off" and target.exists()
    if there and target.stat().st_mtime_ns == newest and loads(target):
        return
    make(root, target, environ)
    os.utime(target, ns=(newest, newest))


def make(root: Path, target: Path, environ: Mapping[str, str]) -> None:
    """Compiles the library, and puts it in its place at once: another process may have the old one.

    Raises NotCompiled.
    """
    if environ.get("TIERGATE_KERNEL") == "off":
        raise NotCompiled("TIERGATE_KERNEL is off")
    if sys.platform == "win32":
        raise NotCompiled("not on Windows")
    more = LINUX if sys.platform == "linux" else shlex.split(environ.get("ARCHFLAGS", ""))
    words = [*compiler(environ), *FLAGS, *HARD, *more, *sources(root), "-lm", "-o"]
    handle, name = tempfile.mkstemp(suffix=NAME, dir=target.parent)
    os.close(handle)
    new = Path(name)
    try:
        done = subprocess.run(  # noqa: S603 - the compiler of whoever installs
            [*words, name],
            cwd=root,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
        if done.returncode:
            told = next((one for one in done.stderr.splitlines() if "error" in one), "")
            raise NotCompiled(f"{words[0]} failed{told and f': {told}'}")
        if not loads(new):
            raise NotCompiled(f"what {words[0]} makes cannot be loaded here")
        new.chmod(0o755)
        new.replace(target)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotCompiled(f"{words[0]}: {error}") from None
    finally:
        new.unlink(missing_ok=True)


def compiler(environ: Mapping[str, str]) -> list[str]:
    """The command of $CC, else the first of the usual ones that is there. Raises NotCompiled."""
    if given := shlex.split(environ.get("CC", "")):
        return given
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name, path=environ.get("PATH")):
            return [found]
    raise NotCompiled("there is no C compiler")


def loads(file: Path) -> bool:
    """Whether a library is one of this machine."""
    try:
        ctypes.CDLL(str(file))
    except OSError:
        return False
    return True
