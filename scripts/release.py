"""`make release`: all files of a release into dist, the same bytes at each run; docs/release.md.

    python -m scripts.release           build the files, or say why not
    python -m scripts.release next      after the tag: move the last release, open the changelog

It needs the .venv of `make dev`, and git. Exit status: 0, or 1 with the reason.
"""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHART = "deploy/helm/tiergate"
LAST_RELEASE = "tests/upgrade/last_release"
UNRELEASED = "## Unreleased"
_HEADING = re.compile(r"^## (?P<version>\d+\.\d+\.\d+)(?:, .*)?$", re.MULTILINE)
_CHART_VALUE = re.compile(r"^(version|appVersion): \"?([^\"\s]+)\"?", re.MULTILINE)


class ReleaseError(Exception):
    """A reason not to release."""


def run(*words: str, root: Path = ROOT) -> str:
    """Run a program in the tree, and return its output. Raises ReleaseError."""
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout.strip()


def read_version(root: Path) -> str:
    """Return the version of the tree."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def list_released(changelog: str) -> list[str]:
    """Return the versions that have a heading, the newest first."""
    return [at["version"] for at in _HEADING.finditer(changelog)]


def check_tree(root: Path) -> str:
    """Return the version that the tree may release. Raises ReleaseError."""
    if changes := run("git", "status", "--porcelain", root=root):
        raise ReleaseError(f"the tree has changes that no commit has:\n{changes}")
    version, changelog = read_version(root), (root / "CHANGELOG.md").read_text("utf-8")
    if list_released(changelog)[:1] != [version] or UNRELEASED in changelog:
        raise ReleaseError(
            f"CHANGELOG.md has no heading `## {version}` as its first: rename `{UNRELEASED}` to it,"
            " with the day"
        )
    return version


def pack_chart(root: Path, folder: Path, version: str, epoch: int) -> None:
    """Write the Helm chart as `helm package` does, with one time and owner. Raises ReleaseError."""
    chart = root / CHART
    if not (chart / "Chart.yaml").exists():
        print(f"release: no chart, since {CHART} is not there")
        return
    values = dict(_CHART_VALUE.findall((chart / "Chart.yaml").read_text("utf-8")))
    if (found := values.get("appVersion")) != version:
        raise ReleaseError(f"{CHART}/Chart.yaml has appVersion {found}, not {version}")
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(run("git", "ls-files", CHART, root=root).splitlines()):
            entry = tarfile.TarInfo(f"{chart.name}/{Path(name).relative_to(CHART)}")
            content = (root / name).read_bytes()
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            archive.addfile(entry, BytesIO(content))
    compressed = gzip.compress(packed.getvalue(), mtime=epoch)
    (folder / f"{chart.name}-{values['version']}.tgz").write_bytes(compressed)


def build_image(root: Path, version: str) -> None:
    """Build the image where an engine runs, and print its id. Raises ReleaseError.

    The image stays with the engine, which pushes it: a registry knows it by its own digest.
    """
    for engine in ("docker", "podman"):
        if not shutil.which(engine):
            continue
        if subprocess.run([engine, "info"], capture_output=True, check=False).returncode:
            continue
        tag = f"tiergate:{version}"
        more = ["--format", "docker"] if engine == "podman" else []  # its own has no HEALTHCHECK
        run(engine, "build", "--quiet", *more, "--tag", tag, ".", root=root)
        identity = run(engine, "image", "inspect", "--format", "{{.Id}}", tag, root=root)
        print(f"release: image {tag} {identity}, at {engine}")
        return
    print("release: no image, since no engine (docker or podman) is running here")


def write_sums(folder: Path) -> None:
    """Write the SHA-256 of each file, as `sha256sum --check` reads it."""
    files = sorted(folder.glob("tiergate-*"))
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / "SHA256SUMS").write_text("".join(lines), "utf-8")


def release(root: Path = ROOT) -> None:
    """Build all files of a release. Raises ReleaseError."""
    version = check_tree(root)
    epoch = run("git", "log", "-1", "--format=%ct", root=root)
    os.environ["SOURCE_DATE_EPOCH"] = epoch
    folder = root / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    run("scripts/package", root=root)
    pack_chart(root, folder, version, int(epoch))
    write_sums(folder)
    build_image(root, version)
    print((folder / "SHA256SUMS").read_text("utf-8"), end="")
    print(f"release: next, `git tag --annotate v{version}`, publish, and `make release-next`")


def open_next(root: Path = ROOT) -> None:
    """Make the tagged version the last release, and open the changelog. Raises ReleaseError."""
    version = check_tree(root)
    commit = run("git", "rev-parse", f"v{version}^{{commit}}", root=root)
    (root / LAST_RELEASE).write_text(f"{version} {commit}\n", "utf-8")
    changelog = root / "CHANGELOG.md"
    text = changelog.read_text("utf-8")
    heading = next(_HEADING.finditer(text))
    start = heading.start()
    changelog.write_text(f"{text[:start]}{UNRELEASED}\n\n{text[start:]}", "utf-8")
    print(f"release: upgrades are tried from {version} ({commit[:8]}) from now on; commit this")


def main(words: list[str]) -> int:
    """Release, or open the next one."""
    try:
        if words == ["next"]:
            open_next()
        elif not words:
            release()
        else:
            print("usage: python -m scripts.release [next]")
            return 2
    except ReleaseError as error:
        print(f"release: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
