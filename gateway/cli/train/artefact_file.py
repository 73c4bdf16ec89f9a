"""Files of artefacts: read the base of a refit, and write an artefact with its card beside it."""

from collections.abc import Mapping
from pathlib import Path

import click
import msgspec

from gateway.core import jsonio
from gateway.routing.classifier import model_file
from gateway.routing.classifier.model_file import ClassifierModel
from gateway.routing.errors import ModelFileError
from gateway.runtime.build import SHIPPED_MODEL

SHIPPED = "shipped"
"""The name of the artefact that ships with the package."""
EXIT_NOT_BETTER = 3
"""The exit status of a command whose artefact is no better than its control or its base."""


def read_artefact(name: str) -> ClassifierModel:
    """Return the artefact that ships, or that of a path. Raises click.ClickException."""
    path = SHIPPED_MODEL if name == SHIPPED else Path(name)
    try:
        return model_file.read(path.read_bytes())
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{path} cannot be read: {reason}.") from None
    except ModelFileError as error:
        raise click.ClickException(f"{path} cannot be used: {error}.") from None


def write_artefact(path: Path, model: ClassifierModel, card: Mapping[str, object]) -> None:
    """Write an artefact, and its card beside it. Raises click.ClickException."""
    try:
        path.write_bytes(model_file.write(msgspec.structs.replace(model, card=card)))
        path.with_suffix(".json").write_bytes(jsonio.dumps(card) + b"\n")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise click.ClickException(f"{path} cannot be written: {reason}.") from None
