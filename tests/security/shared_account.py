"""A provider with one account, in which the objects of all keys lie, and two keys before it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from gateway.core import jsonio
from gateway.settings.passthrough import TABLES
from tests.e2e.upstream import Answer, Request, Upstream, failing
from tests.e2e.world import Change, Config, Make, World

type Json = dict[str, Any]

SECRETS = {
    name: f"tg-{name}-{hashlib.sha256(name.encode()).hexdigest()}" for name in ("alice", "bob")
}
KEYS = ",".join(
    f"{name}={hashlib.sha256(secret.encode()).hexdigest()}" for name, secret in SECRETS.items()
)
ALICE, BOB = ({"authorization": f"Bearer {secret}"} for secret in SECRETS.values())
PREFIX = "/acme/"


def answer(value: object, **headers: str) -> Answer:
    """Build an answer in JSON, with more headers."""
    body = value if isinstance(value, bytes) else jsonio.dumps(value)
    named = {"content-type": "application/json", **headers}
    fields = tuple((name.replace("_", "-"), text) for name, text in named.items())
    return Answer(pieces=(body,), length=len(body), headers=fields)


@dataclass
class SharedAccount:
    """Answers as OpenAI does, to a client that may see everything in the account."""

    upstream: Upstream
    objects: dict[str, Json] = field(default_factory=dict)
    """Objects by id."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """Other answers, by the path below the prefix."""

    def __post_init__(self) -> None:
        self.upstream.on(PREFIX, self.serve)

    def serve(self, request: Request) -> Answer:
        """Answer one request."""
        path = request.path.removeprefix(PREFIX).partition("?")[0]
        kind, _, rest = path.partition("/")
        id, _, part = rest.partition("/")
        if path in self.answers:
            return self.answers[path]
        if not id and request.method == "POST":
            made = {"id": f"{kind}-{len(self.objects) + 1}", "object": kind}
            self.objects[made["id"]] = made
            return answer(made)
        if not id:
            found = [item for item in self.objects.values() if item["object"] == kind]
            return answer({"object": "list", "data": found, "has_more": False})
        if id not in self.objects:
            return failing(404)
        if part == "content":
            return Answer(pieces=(f"secret of {id}".encode(),), headers=())
        if request.method == "DELETE":
            del self.objects[id]
            return answer({"id": id, "deleted": True})
        return answer({**self.objects[id], "of": path})


@dataclass
class Site:
    """A gateway with the keys of alice and bob before the shared account."""

    world: World
    account: SharedAccount

    @property
    def sent(self) -> list[Request]:
        """The requests that have reached the provider."""
        return self.account.upstream.requests

    def ask(
        self, method: str, path: str, key: Mapping[str, str] = ALICE, **more: Any
    ) -> httpx.Response:
        """Send a request with a key."""
        headers = {**key, **more.pop("headers", {})}
        return self.world.client.request(method, path, headers=headers, **more)

    def make_object(self, path: str, key: Mapping[str, str] = ALICE) -> str:
        """Make an object of a key, and return its id."""
        if path == "/v1/files":
            made = self.ask("POST", path, key, files={"file": ("a.txt", b"data")})
        else:
            made = self.ask("POST", path, key, json={"model": "able-1"})
        assert made.status_code == 200, made.text
        return str(made.json()["id"])


def all_tables(value: Config) -> None:
    """Let the provider serve every endpoint of OpenAI."""
    names = [name for name, table in TABLES.items() if name.startswith("openai-")]
    value["providers"]["acme"]["endpoints"] = dict.fromkeys(names, "")
    value["providers"]["acme"]["names"] = ["draw-*", "ft:*"]
    value["models"]["draw-1"] = {"price": {"input": 5, "output": 40, "as_of": "2026-11-24"}}


def make_site(make: Make, upstream: Upstream, *changes: Change, **more: Any) -> Site:
    """Start a gateway with two keys. `more` are variables of its environment, and `files`."""
    world = make(all_tables, *changes, **{"TIERGATE_KEYS": KEYS, **more})
    return Site(world, SharedAccount(upstream))
