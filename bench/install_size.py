"""Weigh the installation of a peer: bytes and distributions, from their own lists of files."""

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.requirements import Requirement


class Weight(msgspec.Struct, frozen=True):
    """Bytes on disk without compiled bytecode, and the number of packages."""

    bytes: int
    distributions: int


def core(package: Path) -> Weight:
    """Weigh the project without its extras: the package's own files and all requirements."""
    distributions: dict[str, metadata.Distribution] = {}
    wanted = [Requirement("tiergate")]
    while wanted:
        requirement = wanted.pop()
        name = requirement.name.lower().replace("_", "-").replace(".", "-")
        is_counted = name in distributions
        distributions.setdefault(name, metadata.distribution(requirement.name))
        if not is_counted or requirement.extras:
            wanted += _required(distributions[name], requirement.extras)
    of_others = (distribution for name, distribution in distributions.items() if name != "tiergate")
    own = sum(file.stat().st_size for file in package.rglob("*") if _counts(file))
    return Weight(own + _bytes(of_others), len(distributions))


def _required(distribution: metadata.Distribution, extras: Iterable[str]) -> list[Requirement]:
    """Return what a distribution requires here, with these extras."""
    requirements = map(Requirement, distribution.requires or ())
    places = [{"extra": extra} for extra in ("", *extras)]
    return [
        part for part in requirements if not part.marker or any(map(part.marker.evaluate, places))
    ]


def venv(folder: Path) -> Weight:
    """Weigh all that a virtual environment has."""
    places = [str(place) for place in folder.glob("lib/python*/site-packages")]
    distributions = list(metadata.distributions(path=places))
    return Weight(_bytes(distributions), len(distributions))


def modules(folder: Path) -> Weight:
    """Weigh all that npm has put into a folder's node_modules."""
    root = folder / "node_modules"
    size = sum(file.stat().st_size for file in root.rglob("*") if _counts(file))
    packages = [*root.glob("[!.@]*/package.json"), *root.glob("@*/*/package.json")]
    return Weight(size, len(packages))


def _bytes(distributions: Iterable[metadata.Distribution]) -> int:
    """Return the bytes of the files that distributions list."""
    files = (
        Path(str(distribution.locate_file(file)))
        for distribution in distributions
        for file in distribution.files or ()
    )
    return sum(file.stat().st_size for file in files if _counts(file))


def _counts(file: Path) -> bool:
    return file.suffix != ".pyc" and file.is_file() and not file.is_symlink()
