"""What hatch_build.py makes of the C sources, and that a package is made without it too."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import hatch_build
from hatch_build import FOLDER, NAME, NotCompiled
from tests.docs.pages import ROOT
from tests.package.test_contents import wheel

compiles = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler: apt-get install gcc libc6-dev"
)  # fmt: skip
HERE = dict(os.environ)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with one C source, and all that says how it is packed."""
    root = tmp_path / "tree"
    (root / FOLDER).mkdir(parents=True)
    for name in ("hatch_build.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    for part in ("config", "docs"):
        (root / part).mkdir()
    (root / "docs/row.schema.json").write_text("{}")
    (root / "gateway/__init__.py").write_text("")
    told = tomllib.loads((root / "pyproject.toml").read_text())["project"]["license-files"]
    for pattern in told:
        (root / pattern.replace("*", "x")).parent.mkdir(parents=True, exist_ok=True)
    write(root, 1)
    return root


def write(root: Path, number: int) -> None:
    """A library that tells a number, and keeps a function to itself."""
    (root / FOLDER / "number.h").write_text(f"#define NUMBER {number}\n")
    (root / FOLDER / "number.c").write_text(
        '#include <math.h>\n#include "number.h"\n'
        "double own(double x) { return sqrt(x); }\n"
        '__attribute__((visibility("default"))) int number(void) { return NUMBER + (int)own(0); }\n'
    )


def number(library: Path) -> int:
    """What it tells, asked by a process of its own: one that is mapped here would answer again."""
    code = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).number())"
    return int(
        subprocess.check_output([sys.executable, "-c", code, library], text=True, timeout=30)
    )


def script(folder: Path, text: str) -> str:
    """A compiler of our own."""
    file = folder / "compiler"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return str(file)


def build(root: Path, version: str = "standard") -> Path:
    """What hatchling makes of a tree."""
    (found,) = WheelBuilder(str(root)).build(directory=str(root / "dist"), versions=[version])
    return Path(found)


@compiles
def test_the_sources_need_no_headers_of_python_and_export_only_what_they_mean_to(
    tmp_path: Path,
) -> None:
    """Those of the gateway, whatever is in them."""
    library = tmp_path / NAME
    hatch_build.make(ROOT, library, HERE)
    assert ctypes.CDLL(str(library)).tiergate_kernel() > 0
    told = subprocess.check_output(["nm", "-D", "--defined-only", library], text=True, timeout=30)
    names = {line.split()[-1].partition("@")[0] for line in told.splitlines()}
    assert "tiergate_kernel" in names
    assert [name for name in names if not name.startswith("tiergate_")] == []
    needed = subprocess.check_output(
        ["nm", "-D", "--undefined-only", library], text=True, timeout=30
    )
    assert "Py" not in needed


@compiles
def test_a_library_is_made_anew_when_a_source_or_a_header_changes(tree: Path) -> None:
    target = tree / FOLDER / NAME
    hatch_build.update(tree, target, HERE)
    assert number(target) == 1
    hatch_build.update(tree, target, {"CC": "/nonexistent/cc"})  # nothing is to be done
    write(tree, 2)
    hatch_build.update(tree, target, HERE)
    assert number(target) == 2
    assert [file.name for file in target.parent.glob("*.so")] == [NAME]


@compiles
def test_a_library_of_another_machine_is_made_anew(tree: Path) -> None:
    target = tree / FOLDER / NAME
    hatch_build.update(tree, target, HERE)
    stamp = target.stat().st_mtime_ns
    target.unlink()
    target.write_bytes(b"\x7fELF of elsewhere")
    os.utime(target, ns=(stamp, stamp))
    hatch_build.update(tree, target, HERE)
    assert number(target) == 1


@compiles
def test_whoever_has_the_old_library_keeps_it(tree: Path) -> None:
    target = tree / FOLDER / NAME
    hatch_build.update(tree, target, HERE)
    old, held = ctypes.CDLL(str(target)), target.open("rb")
    with held:
        before = held.read()
        write(tree, 2)
        hatch_build.update(tree, target, HERE)
        held.seek(0)
        assert held.read() == before
    assert old.number() == 1
    assert number(target) == 2


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("exit 1", "compiler failed$"),
        ("echo 'number.c:1: fatal error: math.h: no such file' >&2; exit 1", r"failed: number\.c:1: fatal error: math"),
        ("for last; do case $last in *.so) echo x >$last;; esac; done", "makes cannot be loaded here"),
        ("exit 0", "makes cannot be loaded here"),
    ],
)  # fmt: skip
def test_a_compiler_that_does_not_work_is_named_and_leaves_nothing(
    tree: Path, tmp_path: Path, said: str, told: str
) -> None:
    target = tree / FOLDER / NAME
    with pytest.raises(NotCompiled, match=told):
        hatch_build.make(tree, target, {"CC": script(tmp_path, said), "PATH": HERE["PATH"]})
    assert list(target.parent.glob("*.so")) == []


def test_the_compiler_is_that_of_cc_else_the_first_that_is_there(tmp_path: Path) -> None:
    assert hatch_build.compiler({"CC": "ccache gcc -m64", "PATH": ""}) == ["ccache", "gcc", "-m64"]
    for name in ("clang", "gcc", "cc"):
        tool = tmp_path / name
        tool.write_text("")
        tool.chmod(0o755)
        assert hatch_build.compiler({"PATH": str(tmp_path)}) == [str(tool)]
    with pytest.raises(NotCompiled, match="there is no C compiler"):
        hatch_build.compiler({"PATH": str(tmp_path / "empty")})
    with pytest.raises(NotCompiled, match=r"/nonexistent/cc: .*No such file"):
        hatch_build.make(ROOT, tmp_path / NAME, {"CC": "/nonexistent/cc"})


def test_nothing_is_compiled_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(NotCompiled, match="not on Windows"):
        hatch_build.make(ROOT, tmp_path / NAME, HERE)


@compiles
def test_a_wheel_has_it_and_is_for_any_python_of_this_kind_of_machine(built: Path) -> None:
    with wheel(built / "wheel") as found:
        assert str(FOLDER / NAME) in found.namelist()
        (name,) = [name for name in found.namelist() if name.endswith("/WHEEL")]
        told = found.read(name).decode()
    assert "Root-Is-Purelib: false\n" in told
    (tag,) = re.findall(r"^Tag: (.+)$", told, re.MULTILINE)
    assert re.fullmatch(r"py3-none-(linux|macosx|freebsd)\w+", tag)
    assert tag in str(found.filename)


@compiles
def test_a_wheel_has_never_what_lies_in_the_tree(tree: Path) -> None:
    """Nor does it change that."""
    lies = tree / FOLDER / NAME
    lies.write_bytes(b"old")
    with zipfile.ZipFile(build(tree)) as found:
        made = found.read(str(FOLDER / NAME))
    assert made.startswith((b"\x7fELF", b"\xcf\xfa\xed\xfe"))
    assert lies.read_bytes() == b"old"


@pytest.mark.parametrize("given", [{"CC": "/nonexistent/cc"}, {"TIERGATE_KERNEL": "off"}])
def test_without_it_a_wheel_is_for_any_machine_and_says_so_in_a_line(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], given: dict[str, str]
) -> None:  # fmt: skip
    """Also where one lies in the tree."""
    (tree / FOLDER / NAME).write_bytes(b"old")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    made = build(tree)
    assert made.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(made) as found:
        assert [name for name in found.namelist() if name.endswith(".so")] == []
        (name,) = [name for name in found.namelist() if name.endswith("/WHEEL")]
        assert "Root-Is-Purelib: true" in found.read(name).decode()
    (line,) = "".join(capfd.readouterr()).splitlines()
    assert line.startswith("The classifier is not compiled: ")
    assert re.search(r"nonexistent/cc|TIERGATE_KERNEL is off", line)


@compiles
def test_an_editable_installation_has_it_beside_its_sources(tree: Path) -> None:
    made = build(tree, "editable")
    assert number(tree / FOLDER / NAME) == 1
    with zipfile.ZipFile(made) as found:
        assert [name for name in found.namelist() if name.endswith(".so")] == []


@pytest.mark.parametrize("given", [{"CC": "/nonexistent/cc"}, {"TIERGATE_KERNEL": "off"}])
def test_an_editable_installation_without_it_has_no_old_one(
    tree: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    """One of other sources would be believed."""
    (tree / FOLDER / NAME).write_bytes(b"old")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    build(tree, "editable")
    assert not (tree / FOLDER / NAME).exists()


@pytest.mark.parametrize("version", ["standard", "editable"])
@pytest.mark.parametrize(
    ("asked", "told"),
    [("required", "not compiled: /nonexistent/cc"), ("yes", "neither off nor required")],
)
def test_a_build_fails_where_it_is_required_and_cannot_be_made(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], version: str, asked: str, told: str
) -> None:  # fmt: skip
    """Or where nobody knows what is asked."""
    monkeypatch.setenv("CC", "/nonexistent/cc")
    monkeypatch.setenv("TIERGATE_KERNEL", asked)
    with pytest.raises(SystemExit) as ended:
        build(tree, version)
    assert ended.value.code == 1
    assert told in "".join(capfd.readouterr())
