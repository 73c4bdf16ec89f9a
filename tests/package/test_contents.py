"""The wheel and the sdist contain all files that the program reads, and no others."""

import email
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

from tests.docs.pages import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = PROJECT["version"]


def wheel(folder: Path) -> zipfile.ZipFile:
    (file,) = folder.glob(f"tiergate-{VERSION}-py3-none-any.whl")
    return zipfile.ZipFile(file)


def tracked(*folders: str) -> set[str]:
    """Return the files of folders as the repository has them, new ones too."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    told = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in told.splitlines() if (ROOT / name).is_file()}


def inside(name: str) -> str:
    """Return the place of a repository's file in the wheel."""
    for here, there in (("config/", "gateway/_config/"), ("docs/", "gateway/_docs/")):
        if name.startswith(here):
            return there + name.removeprefix(here)
    return name


SHIPPED = {"docs/row.schema.json", *tracked("config", "gateway")}


def test_the_wheel_has_every_file_of_the_program_and_no_other(built: Path) -> None:
    with wheel(built / "wheel") as found:
        names = {name for name in found.namelist() if ".dist-info/" not in name}
        assert names == {inside(name) for name in SHIPPED}
        for name in SHIPPED:
            assert found.read(inside(name)) == (ROOT / name).read_bytes(), name


def test_what_is_no_code_is_in_it() -> None:
    """The wheel has the configuration, presets, dashboard, Redis scripts, learned classifier and row schema."""
    ends = {
        "config/gateway.yaml", "config/presets/article-2025-01.yaml", "gateway/routing/learned.tiergate",
        "gateway/state/redis/meter.lua", "gateway/server/dashboard/files/index.html",
        "docs/row.schema.json",
    }  # fmt: skip
    assert ends <= SHIPPED


def test_a_wheel_from_the_sdist_is_the_wheel_from_here(built: Path) -> None:
    """The wheels are equal to the byte, and so are their lists of hashes."""
    with wheel(built / "wheel") as one, wheel(built / "tree") as other:
        assert one.namelist() == other.namelist()
        for name in one.namelist():
            assert one.read(name) == other.read(name), name


def test_the_sdist_has_what_the_wheel_is_made_of(built: Path) -> None:
    with tarfile.open(built / f"tiergate-{VERSION}.tar.gz") as found:
        names = {name.partition("/")[2] for name in found.getnames()}
    more = {
        "PKG-INFO", ".gitignore", "LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md", "pyproject.toml",
    }  # fmt: skip
    assert names == SHIPPED | more


def test_the_metadata_says_what_it_is(built: Path) -> None:
    with wheel(built / "wheel") as found:
        told = email.message_from_bytes(found.read(f"tiergate-{VERSION}.dist-info/METADATA"))
        points = found.read(f"tiergate-{VERSION}.dist-info/entry_points.txt").decode()
        tags = found.read(f"tiergate-{VERSION}.dist-info/WHEEL").decode()
    assert (told["Name"], told["Version"]) == ("tiergate", VERSION)
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert told["Description-Content-Type"] == "text/markdown"
    assert {"Operating System :: MacOS", "Operating System :: POSIX :: Linux"} <= set(
        told.get_all("Classifier") or ()
    )
    assert set(told.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    assert points.split() == ["[console_scripts]", "tiergate", "=", "gateway.cli:main"]
    assert re.search(r"^Tag: py3-none-any$", tags, re.MULTILINE), "for any Python and machine"
    needs = [line for line in told.get_all("Requires-Dist") or () if "extra ==" not in line]
    assert [line for line in needs if line.startswith("uvloop")] == [
        "uvloop>=0.22; sys_platform != 'win32'"
    ]
    assert len(needs) == len(PROJECT["dependencies"])


def test_the_version_stands_in_one_place() -> None:
    """The code reads the version from the metadata of the installed package."""
    for name in tracked("gateway"):
        if name.endswith(".py"):
            assert f'"{VERSION}"' not in (ROOT / name).read_text(), name
