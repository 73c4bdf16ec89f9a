"""The shipped configuration, as the tests of this folder read it."""

import re
from collections.abc import Mapping
from pathlib import Path

from gateway.routing.classifier import model_file
from gateway.routing.classifier.heuristic import Classifier
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.router import Router
from gateway.routing.rules.compile import compile_rules
from gateway.runtime.build import SHIPPED_MODEL
from gateway.settings import loader
from gateway.settings.catalogue import BuiltCatalogue, build_catalogue
from gateway.settings.loader import ConfigSource

FOLDER = Path(__file__).parents[2] / "config"
MAIN = FOLDER / "gateway.yaml"
MATRIX = FOLDER / "matrix.yaml"
FILES = sorted(FOLDER.rglob("*.yaml"))
LABS = sorted((FOLDER / "labs").glob("*.yaml"))

VARIABLES = sorted(
    {name for file in LABS for name in re.findall(r"\$\{([A-Z_]+)", file.read_text("utf-8"))}
    - {
        "AWS_REGION",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_CLOUD_PROJECT",
        "VERTEX_BASE_URL",
        "VLLM_MODEL",
    }
)
"""Every variable that is a credential or an address; the others only change a target."""


ALL_SET: Mapping[str, str] = dict.fromkeys(VARIABLES, "https://set.example")
"""The variables that turn on all that can be on together."""


def source(environ: Mapping[str, str], file: Path = MAIN) -> ConfigSource:
    """Return a shipped configuration under these variables and no others."""
    return loader.load(file, environ)


def built(environ: Mapping[str, str], file: Path = MAIN) -> BuiltCatalogue:
    """Return the catalogue of a shipped configuration, with its own prices alone."""
    return build_catalogue(source(environ, file), lambda _provider, _model: None)


def router(environ: Mapping[str, str], classifier: Classifier | None) -> Router:
    """Return a router with the shipped rules, which no variable changes."""
    config = source(environ).config
    rules = compile_rules(config.guards, config.choices)
    return Router(catalogue=built(environ).catalogue, rules=rules, classifier=classifier)


def learned_router() -> Router:
    """Return a router of all labs with the shipped classifier."""
    return router(ALL_SET, LearnedClassifier(model_file.read(SHIPPED_MODEL.read_bytes())))
