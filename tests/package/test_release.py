"""`make release` builds the same files at each run, and refuses a tree that is not ready."""

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import criteria, pins, release
from scripts.release import ReleaseError
from tests.docs.pages import ROOT
from tests.package.conftest import uv
from tests.package.test_contents import VERSION, list_tracked

SOURCES = (
    "CHANGELOG.md", "Dockerfile", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml", "uv.lock", ".gitignore",
    "config", "docs/row.schema.json", "gateway", "scripts", "docker-compose.yml", "deploy/compose.yml", "tests/upgrade",
)  # fmt: skip
CHART = {
    "Chart.yaml": f'apiVersion: v2\nname: tiergate\nversion: 1.2.3\nappVersion: "{VERSION}"\n',
    "values.yaml": "replicas: 2\n",
    "templates/deployment.yaml": "kind: Deployment\n",
}
FAKE_ENGINE = """#!/bin/sh
case "$1" in
info) ;;
build) echo "$@" >>"$ASKED" ;;
image) echo sha256:1234 ;;
esac
"""


def git(root: Path, *words: str) -> None:
    environ = {
        **os.environ,
        **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "GIT_AUTHOR_DATE": "2026-12-01T10:00:00Z",
        "GIT_COMMITTER_DATE": "2026-12-01T10:00:00Z",
    }  # fmt: skip
    subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, env=environ)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that may be released: this tree's files, with a heading and a chart."""
    uv("--version")  # skips if there is no uv
    root = tmp_path_factory.mktemp("ready")
    for name in list_tracked(*SOURCES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, root / name)
    shutil.rmtree(root / release.CHART, ignore_errors=True)
    for name, text in CHART.items():
        (root / release.CHART / name).parent.mkdir(parents=True, exist_ok=True)
        (root / release.CHART / name).write_text(text)
    changelog = root / "CHANGELOG.md"
    heading = f"## {VERSION}, 1 December 2026"
    changelog.write_text(changelog.read_text().replace(release.UNRELEASED, heading))
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "release")
    return root


@pytest.fixture
def clone(ready: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Makes a clone of it by a name."""
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{ROOT / '.tools/bin'}")
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)

    def make(name: str) -> Path:
        git(tmp_path, "clone", "--quiet", str(ready), name)
        return tmp_path / name

    return make


def test_two_clones_give_the_same_bytes(
    clone: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files depend on no folder, umask or time zone."""
    monkeypatch.setattr(release, "build_image", lambda *_: None)
    files: list[dict[str, bytes]] = []
    root = Path()
    for name, umask, zone in (("first", 0o022, "UTC"), ("a second one", 0o077, "Asia/Tokyo")):
        monkeypatch.setenv("TZ", zone)
        before = os.umask(umask)
        try:
            root = clone(name)
            release.release(root)
        finally:
            os.umask(before)
        files.append({file.name: file.read_bytes() for file in (root / "dist").glob("[!.]*")})
    assert sorted(files[0]) == [
        "SHA256SUMS", "tiergate-0.1.0-py3-none-any.whl", "tiergate-0.1.0.cdx.json",
        "tiergate-0.1.0.tar.gz", "tiergate-1.2.3.tgz",
    ]  # fmt: skip
    assert [name for name in files[0] if files[0][name] != files[1].get(name)] == []
    for line in files[0]["SHA256SUMS"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(files[0][name]).hexdigest() == digest
    with tarfile.open(root / "dist/tiergate-1.2.3.tgz") as archive:
        assert {entry.name for entry in archive} == {f"tiergate/{name}" for name in CHART}
        assert {(entry.uid, entry.mtime, entry.mode) for entry in archive} == {(0, 1796119200, 0o644)}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("new.txt", "x", "changes that no commit has"),
        ("README.md", "x", "changes that no commit has"),
    ],
)
def test_a_tree_with_changes_is_refused(
    clone: Callable[[str], Path], name: str, text: str, reason: str
) -> None:
    root = clone("changed")
    (root / name).write_text(text)
    with pytest.raises(ReleaseError, match=reason):
        release.release(root)
    assert not (root / "dist").exists()


def test_a_version_without_its_heading_is_refused(clone: Callable[[str], Path]) -> None:
    root = clone("unnamed")
    project = root / "pyproject.toml"
    project.write_text(project.read_text().replace(f'version = "{VERSION}"', 'version = "7.0.0"'))
    git(root, "commit", "--quiet", "--all", "--message", "another version")
    with pytest.raises(ReleaseError, match=r"no heading `## 7\.0\.0` as its first"):
        release.release(root)


def test_a_chart_of_another_version_is_refused(
    clone: Callable[[str], Path], tmp_path: Path
) -> None:
    root = clone("chart")
    with pytest.raises(ReleaseError, match=rf"appVersion {VERSION}, not 9\.9\.9"):
        release.pack_chart(root, tmp_path, "9.9.9", 0)


def test_without_a_chart_there_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release.pack_chart(tmp_path, tmp_path, VERSION, 0)
    assert capsys.readouterr().out == "release: no chart, since deploy/helm/tiergate is not there\n"


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_an_engine_builds_the_image_and_none_is_said(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    release.build_image(tmp_path, "1.0.0")
    assert capsys.readouterr().out.startswith("release: no image, since no engine")
    (tmp_path / engine).write_text(FAKE_ENGINE)
    (tmp_path / engine).chmod(0o755)
    release.build_image(tmp_path, "1.0.0")
    assert capsys.readouterr().out == f"release: image tiergate:1.0.0 sha256:1234, at {engine}\n"
    assert (tmp_path / "asked").read_text().endswith("--tag tiergate:1.0.0 .\n")


def test_after_the_tag_upgrades_are_tried_from_this_release(clone: Callable[[str], Path]) -> None:
    root = clone("tagged")
    with pytest.raises(ReleaseError, match=rf"v{VERSION}"):
        release.open_next(root)
    git(root, "tag", "--annotate", f"v{VERSION}", "--message", "release")
    release.open_next(root)
    commit = release.run("git", "rev-parse", "HEAD", root=root)
    assert (root / release.LAST_RELEASE).read_text() == f"{VERSION} {commit}\n"
    changelog = (root / "CHANGELOG.md").read_text()
    assert f"\n{release.UNRELEASED}\n\n## {VERSION}, 1 December 2026\n" in changelog
    assert criteria.check_last_release(root) == ("holds", VERSION)


def test_the_last_release_is_the_one_that_the_changelog_names() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = release.list_released(changelog)
    if release.UNRELEASED not in changelog:
        released = released[1:]  # the newest is about to be released
    version, commit = (ROOT / release.LAST_RELEASE).read_text("utf-8").split()
    assert version == (released[0] if released else "none")
    assert len(commit) == 40


def test_images_without_digests_fail_a_criterion(clone: Callable[[str], Path]) -> None:
    root = clone("images")
    verdict, reason = criteria.check_images(ROOT)
    for name in pins.IMAGE_FILES:
        text = (root / name).read_text()
        images = pins.find_images(text)
        pinned = pins.pin_images(text, dict.fromkeys(images, f"sha256:{'1' * 64}"))
        (root / name).write_text(pinned)
    assert criteria.check_images(root) == ("holds", "")
    (root / "Dockerfile").write_text("ARG BASE=python:3.13-slim\n")
    verdict, reason = criteria.check_images(root)
    assert (verdict, reason.partition(",")[0]) == ("fails", "1 without")


def test_a_version_before_1_is_not_stable_and_one_that_is_ready_is(
    clone: Callable[[str], Path],
) -> None:
    root = clone("stable")
    assert criteria.check_version(root) == ("fails", f"pyproject.toml has version {VERSION}")
    for name, old, new in (
        ("pyproject.toml", f'version = "{VERSION}"', 'version = "1.0.0"'),
        ("pyproject.toml", "Development Status :: 4 - Beta", "Development Status :: 5 - Production/Stable"),
        ("CHANGELOG.md", f"## {VERSION}, ", "## 1.0.0, "),
    ):  # fmt: skip
        (root / name).write_text((root / name).read_text().replace(old, new, 1))
    assert criteria.check_version(root)[0] == "fails"
    git(root, "commit", "--quiet", "--all", "--message", "1.0.0")
    assert criteria.check_version(root) == ("holds", "1.0.0")


def test_a_build_requirement_without_a_hash_fails_a_criterion(tmp_path: Path) -> None:
    text = '[tool.uv]\nrequire-build-hashes = true\nbuild-constraint-dependencies = [{requirement = "a==1"}]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    assert criteria.check_build(tmp_path)[0] == "fails"
    assert criteria.check_build(ROOT) == ("holds", "")


def test_the_document_lists_each_criterion_with_its_proof() -> None:
    page = (ROOT / "docs/release.md").read_text("utf-8")
    rows = [f"| {each.text} | {each.proof} |" for each in criteria.CRITERIA]
    assert [row for row in rows if row not in page] == []
    table = page.partition("| criterion | proof |\n|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows
