"""Test the page and its files: one origin only, and cached by browsers until they change."""

import re
from pathlib import Path

import pytest

from gateway.server.dashboard.assets import Assets
from gateway.server.dashboard.routes import SAFE_HEADERS
from tests.e2e.world import World

FOLDER = Path(__file__).parents[3] / "gateway/server/dashboard/files"
OWN = [path for path in sorted(FOLDER.rglob("*")) if path.is_file() and "vendor" not in path.parts]


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_inline_script(world: World) -> None:
    reply = world.client.get("/dashboard")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert {name: reply.headers[name] for name in SAFE_HEADERS} == dict(SAFE_HEADERS)
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert world.client.get("/dashboard/").content == reply.content


def test_every_file_that_the_page_names_is_served(world: World) -> None:
    page = world.client.get("/dashboard").text
    names = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(names) > 4
    for name in names:
        reply = world.client.get(name)
        assert reply.status_code == 200, name
        assert "immutable" in reply.headers["cache-control"]
        assert {head: reply.headers[head] for head in SAFE_HEADERS} == dict(SAFE_HEADERS)


def test_an_unchanged_page_is_not_sent_again(world: World) -> None:
    reply = world.client.get("/dashboard")
    assert reply.headers["cache-control"] == "no-cache"
    cached = {"if-none-match": reply.headers["etag"]}
    again = world.client.get("/dashboard", headers=cached)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == SAFE_HEADERS["content-security-policy"]
    assert world.client.get("/dashboard", headers={"if-none-match": '"x"'}).status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "../session.py", "%2e%2e/session.py", "index.html", ""])  # fmt: skip
def test_only_the_files_of_the_dashboard_are_served(world: World, name: str) -> None:
    version = Assets().version
    assert world.client.get(f"/dashboard/files/{version}/{name}").status_code == 404
    assert world.client.get("/dashboard/files/0123456789abcdef/shell.js").status_code == 404


def test_the_version_changes_with_the_content(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<p>{version}")
    (tmp_path / "one.js").write_text("1")
    (tmp_path / "left.map").write_text("no kind that is served")
    first = Assets(tmp_path)
    assert first.version == Assets(tmp_path).version
    assert first.index.data == f"<p>{first.version}".encode()
    assert set(first.files) == {"one.js"}
    (tmp_path / "one.js").write_text("2")
    assert Assets(tmp_path).version != first.version


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_file_names_another_host_or_makes_markup_from_text(path: Path) -> None:
    text = path.read_text("utf-8")
    links = set(re.findall(r"https?://[^\s\"'`)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not links
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|style="
    assert not re.search(unsafe, text)
    assert len(text.splitlines()) < 500
