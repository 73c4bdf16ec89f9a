"""`make criteria`: what must hold for version 1.0.0, and which of it a machine sees to hold.

docs/release.md has the same table. Exit status: 0 if none that it can check fails.
"""

import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scripts import audit, pins, release

type Verdict = Literal["holds", "fails", "unknown", "by hand"]
type Finding = tuple[Verdict, str]

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Criterion:
    """One thing that must be true, and how one sees it."""

    text: str
    proof: str
    """The command or the place that shows it."""
    check: Callable[[Path], Finding] | None = None
    """Returns a verdict and a reason; None if a person must look, or the proof takes long."""


def check_version(root: Path) -> Finding:
    """Return whether the tree is of a version that may be released as stable."""
    version = release.read_version(root)
    if int(version.partition(".")[0]) < 1:
        return "fails", f"pyproject.toml has version {version}"
    if _read_project(root)["classifiers"][0] != "Development Status :: 5 - Production/Stable":
        return "fails", "the first classifier of pyproject.toml is another"
    try:
        release.check_tree(root)
    except release.ReleaseError as error:
        return "fails", str(error).splitlines()[0]
    return "holds", version


def check_images(root: Path) -> Finding:
    """Return whether each image is pinned by digest."""
    lines = [
        f"{name}: {line.strip()}"
        for name in pins.IMAGE_FILES
        for line in (root / name).read_text("utf-8").splitlines()
        if pins.find_images(line) and "@sha256:" not in line
    ]
    if lines:
        return "fails", f"{len(lines)} without, first {lines[0]}: make pins"
    return "holds", ""


def check_build(root: Path) -> Finding:
    """Return whether uv refuses to build with anything that has no hash."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]
    hashed = all(entry.get("hashes") for entry in settings["build-constraint-dependencies"])
    is_pinned = settings.get("require-build-hashes") and hashed
    return ("holds", "") if is_pinned else ("fails", "pyproject.toml, tool.uv: make pins")


def check_last_release(root: Path) -> Finding:
    """Return whether upgrades are tried from a release, not from a commit of the time before."""
    version, commit = (root / release.LAST_RELEASE).read_text("utf-8").split()
    if version == "none":
        return "fails", f"there is no release yet: {commit[:8]} stands in for it"
    try:
        tagged = release.run("git", "rev-parse", f"v{version}^{{commit}}", root=root)
    except release.ReleaseError:
        return "unknown", f"this clone has no tag v{version}"
    return ("holds", version) if tagged == commit else ("fails", f"v{version} is {tagged[:8]}")


def check_vulnerabilities(root: Path) -> Finding:
    """Return whether OSV knows a vulnerability of a component of the newest SBOM."""
    files = sorted((root / "dist").glob("*.cdx.json"))
    if not files:
        return "unknown", "dist has no SBOM: make sbom"
    status = audit.main([str(files[-1])])
    verdicts: dict[int, Finding] = {0: ("holds", ""), 1: ("fails", "see above")}
    return verdicts.get(status, ("unknown", "OSV could not be asked"))


def check_known_gaps(root: Path) -> Finding:
    """Return whether a row of the fault matrix is known to fail."""
    gaps = [
        file.name
        for file in sorted((root / "tests/chaos").glob("*.py"))
        if file.name != "test_chaos.py" and re.search(r"\bunmet=\"", file.read_text("utf-8"))
    ]
    return ("fails", f"known gaps in {', '.join(gaps)}") if gaps else ("holds", "")


def _read_project(root: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return project


CRITERIA = (
    Criterion(
        "Version 1.0.0 with its heading, marked stable, and every change committed.",
        "`make criteria`",
        check_version,
    ),
    Criterion("All checks pass on a fresh machine, and no test skips.", "`.ci/run`"),
    Criterion(
        "No row of the fault matrix is known to fail.",
        "`make criteria`; `make chaos` plays them",
        check_known_gaps,
    ),
    Criterion(
        "Upgrades are tried from a release: its data, keys and configuration, and a mixed fleet.",
        "`make criteria`; `make upgrade` tries them",
        check_last_release,
    ),
    Criterion(
        "Every image is pinned by digest.",
        "`make criteria`; `make pins` pins them",
        check_images,
    ),
    Criterion("What builds the package is pinned by hash.", "`make criteria`", check_build),
    Criterion("No component has a known vulnerability.", "`make audit`", check_vulnerabilities),
    Criterion(
        "Two people with two clones get the same files of a release.",
        "`make release` twice, `sha256sum --check SHA256SUMS`",
    ),
    Criterion(
        "The image, built on the official base, runs as an engine starts it.",
        "`scripts/containers` where docker or podman runs",
    ),
    Criterion(
        "Every lab that ships has been asked with a real key, and no difference is open.",
        "`tiergate doctor --live`",
    ),
    Criterion(
        "Half an hour of mixed faults, 100 kills and 20 replacements of workers lose nothing.",
        "`make soak`; `make kill`; `make roll`",
    ),
    Criterion(
        "Somebody who did not write the promises has checked them, sentence by sentence.",
        "[promises.md](promises.md), [SECURITY.md](../SECURITY.md)",
    ),
    Criterion(
        "Figures in the documents are of this version.",
        "`make bench-report`; `make scale-figures`",
    ),
)


def main(root: Path = ROOT) -> int:
    """Print each criterion with its verdict."""
    failed = 0
    for criterion in CRITERIA:
        verdict, reason = criterion.check(root) if criterion.check else ("by hand", criterion.proof)
        failed += verdict == "fails"
        print(f"{verdict:<8} {criterion.text}{f' ({reason})' if reason else ''}")
    print(f"criteria: {failed} fail" if failed else "criteria: none that can be checked here fails")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
