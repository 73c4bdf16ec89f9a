"""Read the Dockerfile and the compose file as values."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from gateway.settings import yaml
from gateway.settings.yaml import Value

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class DockerfileStage:
    """One stage of the Dockerfile: its steps in order, with continued lines joined."""

    base: str
    name: str
    steps: tuple[tuple[str, str], ...]
    """Each instruction, and the text after it."""

    def all(self, word: str) -> list[str]:
        return [rest for instruction, rest in self.steps if instruction == word]

    def one(self, word: str) -> str:
        """Return the text after an instruction. Raises ValueError unless it stands once."""
        (rest,) = self.all(word)
        return rest

    @property
    def env(self) -> dict[str, str]:
        return dict(word.split("=", 1) for rest in self.all("ENV") for word in rest.split())


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def stages() -> list[DockerfileStage]:
    """Return the stages of the Dockerfile."""
    lines = [line for line in text("Dockerfile").splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[DockerfileStage] = []
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(DockerfileStage(base, name, ()))
        elif word and stages:
            last = stages[-1]
            stages[-1] = DockerfileStage(last.base, last.name, (*last.steps, (word, rest)))
    return stages


def probe(stage: DockerfileStage) -> list[str]:
    """Return the command of a stage's HEALTHCHECK, word by word."""
    words = json.loads(stage.one("HEALTHCHECK").partition("CMD ")[2])
    assert isinstance(words, list)
    return [str(word) for word in words]


def compose() -> dict[str, Value]:
    """Return the compose file."""
    return mapping(yaml.read(text("docker-compose.yml"), "docker-compose.yml").value)


def services() -> dict[str, dict[str, Value]]:
    return {name: mapping(value) for name, value in mapping(compose()["services"]).items()}


def gateways() -> dict[str, dict[str, Value]]:
    """Return the services that are built here."""
    return {name: service for name, service in services().items() if "build" in service}


def environment(service: dict[str, Value]) -> dict[str, str | None]:
    """Return the variables of a service; None if the shell or .env gives the value."""
    values: dict[str, str | None] = {}
    for item in words(service["environment"]):
        name, given, value = item.partition("=")
        values[name] = value if given else None
    return values


def mapping(value: Value) -> dict[str, Value]:
    assert isinstance(value, dict)
    return value


def words(value: Value) -> list[str]:
    assert isinstance(value, list)
    return [str(item) for item in value]


def listed(value: Value) -> list[Value]:
    assert isinstance(value, list)
    return value
