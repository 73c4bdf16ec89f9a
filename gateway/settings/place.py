"""Where the configuration is, before anything of it is read."""

from collections.abc import Mapping
from pathlib import Path as File


def find(asked: str | None, environ: Mapping[str, str]) -> File:
    """The file to read: asked for, TIERGATE_CONFIG, ./config/gateway.yaml, or the shipped one."""
    if asked or environ.get("TIERGATE_CONFIG"):
        return File(asked or environ["TIERGATE_CONFIG"])
    here = File("config/gateway.yaml")
    if here.exists():
        return here
    return shipped()


def shipped() -> File:
    """The configuration that comes with the program: in a checkout it lies beside the package."""
    package = File(__file__).parent.parent
    inside = package / "_config" / "gateway.yaml"
    return inside if inside.exists() else package.parent / "config" / "gateway.yaml"
