"""`make pins`: pin the images, uv and the build back end by digest and hash, each at its newest.

    python -m scripts.pins [--registry URL]

It asks the registry of images and the index of packages, writes the files, and prints the
difference for a review. It changes no tag: a new tag is a decision. Exit status: 0, or 1 if one of
them does not answer; its old pins then stay.
"""

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
IMAGE_FILES = ("Dockerfile", "docker-compose.yml", "deploy/compose.yml")
"""The files that name images. Images without a colon are built here, and have no digest to pin."""
UV_FILE = "scripts/uv.txt"
_UV_HEADER = "# The uv of scripts/setup and of the image. `make pins` writes this file.\n"
_IMAGE = re.compile(
    r"^(?P<before>ARG BASE=|\s*image: )(?P<name>[\w./-]+):(?P<tag>[\w.-]+)"
    r"(?P<digest>@sha256:[0-9a-f]{64})?$",
    re.MULTILINE,
)
_BUILD_REQUIREMENTS = "hatchling\neditables~=0.3\n"
"""The build back end, and the package that it asks for to install a checkout."""
_BUILT_HERE = "tiergate"
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
"""Lists of all machines first: the digest of a list serves each machine."""
_DOCKER_HUB = "https://registry-1.docker.io"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_CONSTRAINTS = re.compile(
    r"(?<=\nbuild-constraint-dependencies = \[\n).*?(?=^\]$)", re.DOTALL | re.MULTILINE
)
_REQUIREMENT = re.compile(
    r"^(?P<requirement>[\w.-]+==\S+)(?P<rest>(?: \\\n    --hash=\S+)+)$", re.MULTILINE
)
_HASH = re.compile(r"--hash=(\S+)")


class PinError(Exception):
    """A registry or an index did not give what was asked for."""


@dataclass(frozen=True)
class ImageTag:
    """An image as a file names it: `redis`, `8-alpine`."""

    name: str
    tag: str

    @property
    def repository(self) -> str:
        """The path at the registry: Docker Hub keeps official images below `library`."""
        return self.name if "/" in self.name else f"library/{self.name}"

    def __str__(self) -> str:
        """Return it as files write it."""
        return f"{self.name}:{self.tag}"


def find_images(text: str) -> set[ImageTag]:
    """Return the images of a file that come from a registry."""
    matches = _IMAGE.finditer(text)
    return {ImageTag(at["name"], at["tag"]) for at in matches if at["name"] != _BUILT_HERE}


def pin_images(text: str, digests: dict[ImageTag, str]) -> str:
    """Return a file with the digest of each image that is known, and all else as it was."""

    def pin(at: re.Match[str]) -> str:
        digest = digests.get(ImageTag(at["name"], at["tag"]))
        return f"{at['before']}{at['name']}:{at['tag']}@{digest}" if digest else at[0]

    return _IMAGE.sub(pin, text)


def fetch_digest(client: httpx.Client, image: ImageTag) -> str:
    """Ask a registry for the digest of a tag. Raises PinError.

    The digest is computed from the manifest: a registry need not send its header.
    """
    path = f"/v2/{image.repository}/manifests/{image.tag}"
    headers = {"accept": _MANIFESTS}
    try:
        answer = client.get(path, headers=headers)
        if answer.status_code == 401:
            token = _fetch_token(client, answer.headers.get("www-authenticate", ""))
            answer = client.get(path, headers={**headers, "authorization": f"Bearer {token}"})
    except httpx.HTTPError as error:
        raise PinError(f"{image}: the registry does not answer ({error})") from error
    if answer.status_code != 200:
        raise PinError(f"{image}: the registry answers {answer.status_code}")
    digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    if answer.headers.get("docker-content-digest", digest) != digest:
        raise PinError(f"{image}: the manifest has another digest than the registry says")
    return digest


def _fetch_token(client: httpx.Client, challenge: str) -> str:
    """Fetch the token with which anybody may read. Raises PinError."""
    told = dict(_CHALLENGE.findall(challenge))
    if "realm" not in told:
        raise PinError("the registry wants a password")
    realm = told.pop("realm")
    answer = client.get(realm, params=told)
    if answer.status_code != 200:
        raise PinError(f"{realm} answers {answer.status_code}")
    token = answer.json().get("token") or answer.json().get("access_token")
    if not isinstance(token, str):
        raise PinError(f"{realm} gives no token")
    return token


def write_constraints(project: str, requirements: str) -> str:
    """Return pyproject.toml with hashed requirements as its build constraints. Raises PinError."""
    found = list(_REQUIREMENT.finditer(requirements))
    lines = []
    for at in found:
        hashes = ", ".join(f'"{digest}"' for digest in _HASH.findall(at["rest"]))
        lines.append(f'    {{ requirement = "{at["requirement"]}", hashes = [{hashes}] }},\n')
    if not found or not _CONSTRAINTS.search(project):
        raise PinError("pyproject.toml or the index has no build constraints")
    return _CONSTRAINTS.sub(lambda _: "".join(lines), project, count=1)


def compile_requirements(names: str) -> str:
    """Ask the index for the newest packages, with all hashes of each. Raises PinError."""
    uv = shutil.which("uv") or str(ROOT / ".tools/bin/uv")
    words = ["pip", "compile", "--universal", "--python-version", "3.12", "--only-binary", ":all:"]
    words += ["--quiet", "--generate-hashes", "--no-header", "--no-annotate", "-"]
    done = subprocess.run(
        [uv, *words], input=names, capture_output=True, text=True, check=False, cwd=ROOT / "scripts"
    )
    if done.returncode:
        raise PinError(f"{names.strip()}: {done.stderr.strip()}")
    return done.stdout.rstrip() + "\n"


def main(words: list[str] | None = None) -> int:
    """Write all pins that can be had, and print the difference."""
    parser = argparse.ArgumentParser(prog="scripts.pins")
    parser.add_argument("--registry", default=_DOCKER_HUB, help="Docker Hub, or a mirror of it")
    options = parser.parse_args(words)
    failures: list[str] = []
    files = {name: (ROOT / name).read_text("utf-8") for name in IMAGE_FILES}
    digests: dict[ImageTag, str] = {}
    with httpx.Client(base_url=options.registry, timeout=30, follow_redirects=True) as client:
        for image in sorted(set[ImageTag]().union(*map(find_images, files.values())), key=str):
            try:
                digests[image] = fetch_digest(client, image)
            except PinError as error:
                failures.append(str(error))
    for name, text in files.items():
        (ROOT / name).write_text(pin_images(text, digests), "utf-8")
    try:
        (ROOT / UV_FILE).write_text(_UV_HEADER + compile_requirements("uv\n"), "utf-8")
        project = ROOT / "pyproject.toml"
        constraints = compile_requirements(_BUILD_REQUIREMENTS)
        project.write_text(write_constraints(project.read_text("utf-8"), constraints), "utf-8")
        subprocess.run([ROOT / ".tools/bin/uv", "lock", "--quiet"], cwd=ROOT, check=True)
    except PinError as error:
        failures.append(str(error))
    changed = [*IMAGE_FILES, UV_FILE, "pyproject.toml", "uv.lock"]
    subprocess.run(["git", "--no-pager", "diff", "--", *changed], cwd=ROOT, check=False)
    for failure in failures:
        sys.stderr.write(f"pins: {failure}; its pins stay as they are\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
