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


def list_tracked(*folders: str) -> set[str]:
    """Return the files of folders as the repository has them, new ones too."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders]
    output = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {name for name in output.splitlines() if (ROOT / name).is_file()}


def path_in_wheel(name: str) -> str:
    """Return the place of a repository's file in the wheel."""
    for source, target in (("config/", "gateway/_config/"), ("docs/", "gateway/_docs/")):
        if name.startswith(source):
            return target + name.removeprefix(source)
    return name


SHIPPED = {"docs/row.schema.json", *list_tracked("config", "gateway")}


def test_the_wheel_has_every_file_of_the_program_and_no_other(built: Path) -> None:
    with wheel(built / "wheel") as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == {path_in_wheel(name) for name in SHIPPED}
        for name in SHIPPED:
            assert archive.read(path_in_wheel(name)) == (ROOT / name).read_bytes(), name


def test_the_wheel_has_the_files_that_are_not_code() -> None:
    """The wheel has the configuration, presets, dashboard, Redis scripts, learned classifier and row schema."""
    examples = {
        "config/gateway.yaml", "config/presets/article-2025-01.yaml", "gateway/routing/learned.tiergate",
        "gateway/state/redis/meter.lua", "gateway/server/dashboard/files/index.html",
        "docs/row.schema.json",
    }  # fmt: skip
    assert examples <= SHIPPED


def test_the_wheel_from_the_sdist_equals_the_one_from_the_checkout(built: Path) -> None:
    """The wheels are equal to the byte, and so are their lists of hashes."""
    with wheel(built / "wheel") as from_sdist, wheel(built / "tree") as from_checkout:
        assert from_sdist.namelist() == from_checkout.namelist()
        for name in from_sdist.namelist():
            assert from_sdist.read(name) == from_checkout.read(name), name


def test_the_sdist_has_the_sources_of_the_wheel(built: Path) -> None:
    with tarfile.open(built / f"tiergate-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    project_files = {
        "PKG-INFO", ".gitignore", "LICENSE", "README.md", "SECURITY.md", "CHANGELOG.md", "pyproject.toml",
    }  # fmt: skip
    assert names == SHIPPED | project_files


def test_the_metadata_describes_the_package(built: Path) -> None:
    with wheel(built / "wheel") as archive:
        metadata = email.message_from_bytes(archive.read(f"tiergate-{VERSION}.dist-info/METADATA"))
        entry_points = archive.read(f"tiergate-{VERSION}.dist-info/entry_points.txt").decode()
        tags = archive.read(f"tiergate-{VERSION}.dist-info/WHEEL").decode()
    assert (metadata["Name"], metadata["Version"]) == ("tiergate", VERSION)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {"Operating System :: MacOS", "Operating System :: POSIX :: Linux"} <= set(
        metadata.get_all("Classifier") or ()
    )
    assert set(metadata.get_all("Provides-Extra") or ()) == set(PROJECT["optional-dependencies"])
    assert entry_points.split() == ["[console_scripts]", "tiergate", "=", "gateway.cli:main"]
    assert re.search(r"^Tag: py3-none-any$", tags, re.MULTILINE), "for any Python and machine"
    needs = [line for line in metadata.get_all("Requires-Dist") or () if "extra ==" not in line]
    assert [line for line in needs if line.startswith("uvloop")] == [
        "uvloop>=0.22; sys_platform != 'win32'"
    ]
    assert len(needs) == len(PROJECT["dependencies"])


def test_the_version_is_written_in_one_place() -> None:
    """The code reads the version from the metadata of the installed package."""
    for name in list_tracked("gateway"):
        if name.endswith(".py"):
            assert f'"{VERSION}"' not in (ROOT / name).read_text(), name
