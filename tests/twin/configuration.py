"""The configuration of both gateways of a stage, byte for byte the same.

It turns off everything that is random by nature or depends on the machine: hedging, probes, load
shedding by the lag of the event loop, and long waits. Each scripted fault has a lab and providers
of its own, so that its circuit breaker, retry budget and quota do not influence other exchanges.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES

type Json = dict[str, Any]

SIDES = ("base", "tree")
"""The two gateways: of the base commit, and of this tree."""
DIALECTS = (CHAT, RESPONSES, MESSAGES, GEMINI)
SHORT = {CHAT: "chat", RESPONSES: "responses", MESSAGES: "messages", GEMINI: "gemini"}
"""The dialects as parts of names."""
HOST = "twin.test"
"""The name by which clients call both gateways, so that no answer shows a port."""
PROVIDER = "TWIN_PROVIDER"
"""The variable with the provider's URL: a URL in the file itself would change its version."""
SIDE = re.compile(r"twin-(base|tree)")
"""The mark of a gateway in a credential or a header. The provider tells the two gateways apart by it."""
SECRETS = {
    name: f"{name}-twin-placeholder"
    for name in ("main", "batch", "globex", "few", "poor", "spent", "busy", "stay", "cached", "admin", "old", "gone")
}  # fmt: skip
"""Placeholders of client keys, by name. Each begins differently: a gateway slows down guesses that
begin alike, by a clock."""
ADMIN = "twin-placeholder-of-the-operator"
_PATHS = {
    CHAT: "/chat/completions",
    RESPONSES: "/responses",
    MESSAGES: "/messages",
    GEMINI: "/v1beta",
}
_AUTH = {CHAT: "bearer", RESPONSES: "bearer", MESSAGES: "x-api-key", GEMINI: "x-goog-api-key"}
_URL = re.compile(r"\"[^\"]*https?://[^\"]*\"|https?://[^/\s,}]+(?P<path>[^\s,}]*)")
"""A URL in a file of labs, with or without quotes."""
_CONTINUATION = re.compile(r"\\\n +")
"""The end of a line in quotes that the next one continues."""
_PROVIDER_NAME = re.compile(r"  ([\w-]+):")


@dataclass(frozen=True)
class TwinConfiguration:
    """A configuration, and how its gateways start."""

    name: str
    value: Json
    keys: Json = field(default_factory=dict)
    """The content of the key file; empty for open access."""
    shipped: bool = False
    """True if it includes the labs, models and rules that ship."""
    redis: bool = True

    def write(self, folder: Path, shipped: Path) -> Path:
        """Write the files into a folder; `shipped` is the folder `config` of a tree."""
        folder.mkdir(parents=True)
        value = dict(self.value)
        if self.shipped:
            value["include"] = ["labs/*.yaml", "models.yaml", "rules.yaml"]
            _copy_shipped(shipped, folder)
        if self.keys:
            value["keys"] = "keys.yaml"
            (folder / "keys.yaml").write_text(json.dumps(self.keys))
        file = folder / "gateway.yaml"
        file.write_text(json.dumps(value, indent=1))
        return file

    @property
    def environ(self) -> dict[str, str]:
        """Variables that both gateways share."""
        return {"TIERGATE_SECRET": "twin-placeholder-secret", "TIERGATE_ADMIN_KEY": ADMIN}


def credentials(folder: Path, side: str) -> dict[str, str]:
    """Make a placeholder for each credential that the files of a folder name."""
    text = "".join(file.read_text("utf-8") for file in sorted(folder.rglob("*.yaml")))
    names = sorted(set(re.findall(r"\$\{([A-Z0-9_]+_(?:KEY|TOKEN))\b", text)))
    return {name: f"twin-{side}-placeholder-{name.lower()}" for name in names}


def _copy_shipped(shipped: Path, folder: Path) -> None:
    """Copy the labs, models and rules that ship, with the scripted provider in every URL."""
    (folder / "labs").mkdir()
    for file in sorted((shipped / "labs").glob("*.yaml")):
        name, lines = "", []
        text = _CONTINUATION.sub("", file.read_text("utf-8"))  # a URL may have several lines
        for line in text.splitlines(keepends=True):
            start = _PROVIDER_NAME.match(line)
            name = start[1] if start else name
            code, sign, comment = line.partition(" # ")
            if not line.lstrip().startswith("#"):
                code = _URL.sub(partial(_scripted_url, name), code)
            lines.append(code + sign + comment)
        (folder / "labs" / file.name).write_text("".join(lines), "utf-8")
    for name in ("models.yaml", "rules.yaml"):
        shutil.copy(shipped / name, folder)


def _scripted_url(provider: str, url: re.Match[str]) -> str:
    return f'"${{{PROVIDER}}}/{provider}{url["path"] or ""}"'


def _provider(name: str, *dialects: str, auth: str | None = None, **members: Any) -> Json:
    """Configure the scripted server as a provider, at a path of its own."""
    provider: Json = {
        "base_url": f"${{{PROVIDER}}}/{name}",
        "dialects": {dialect: _PATHS[dialect] for dialect in dialects},
        "auth": auth or _AUTH[dialects[0]],
        **members,
    }
    if provider["auth"] == "none":
        provider["headers"] = {"x-operator": "${TWIN_SIDE}", "x-team": "twin"}
    elif "accounts" not in members:
        provider["accounts"] = {"main": "${TWIN_MAIN_KEY}"}
    return provider


def _common(lab: str, **routing: Any) -> Json:
    """Write what all stages share; `lab` is the default one."""
    return {
        "version": 1,
        "server": {
            "host": "127.0.0.1", "hosts": [HOST], "max_lag": "0s", "lb_delay": "0s", "drain": "8s", "max_body": "3MB",
        },
        "default": {"lab": lab, "tier": "smart"},
        "routing": routing,
        "retry": {"preferred_wait": "0s", "longest_wait": "0s"},
        "ledger": {"baseline": "smart", "time_zone": "UTC"},
        "log": {"calls": "all"},
    }  # fmt: skip


_MODELS: Json = {
    "plain-1": {"context": 32_000, "tools": True, "vision": False, "files": False, "json_schema": False, "price": {"input": 0.1, "cache_read": 0.01, "output": 0.4, "as_of": "2026-01-01"}},
    "able-1": {"context": 200_000, "max_output": 8_000, "tools": True, "forced_tools": True, "vision": True, "files": True, "audio": True, "json_schema": True,
               "effort": {"style": {CHAT: "reasoning_effort", RESPONSES: "reasoning_effort", MESSAGES: "anthropic", GEMINI: "gemini-level"}, "accepts": ["low", "medium", "high"], "default": "medium"},
               "price": {"input": 2, "cache_read": 0.2, "cache_write": 2.5, "cache_write_by": {"5m": 2.5, "1h": 4}, "output": 8, "tools": {"web_search": 0.01}, "services": {"flex": {"factor": 0.5}}, "as_of": "2026-01-01"}},
    "deep-1": {"like": "able-1", "sampling": "never", "price": {"input": 10, "cache_read": 1, "output": 40, "as_of": "2026-01-01", "above": [{"tokens": 2_000, "input": 20, "output": 60}]}},
    "odd-1": {"like": "able-1", "sampling": "effort-none", "refuses": ["stop", "seed"], "replays_reasoning": True, "effort": {"style": "reasoning_effort", "accepts": ["none", "high"], "default": "none"}},
    "vectors-1": {"price": {"input": 0.02, "output": 0, "as_of": "2026-01-01"}},
}  # fmt: skip
_RULES: Json = {
    "guards": [
        {"name": "twin batch is cheap", "when": {"tag": "batch"}, "max_tier": "smart", "tag": "seen"},
        {"name": "twin legal stays", "when": {"tag": "legal"}, "allow": ["beta"], "no_cache": True},
        {"name": "twin refusal", "when": {"keywords": ["forbidden fruit"]}, "refuse": "Not here."},
        {"name": "twin schema", "when": {"json_schema": True, "dialect": CHAT}, "min_tier": "smart"},
        {"name": "twin cached", "when": {"tag": "kept"}, "cache": "on"},
    ],
    "choices": [
        {"name": "twin drafts", "when": {"tag": "draft", "not": {"images": True}}, "lab": "delta"},
        {"name": "twin model", "when": {"keywords": ["pin me"]}, "model": "beta/able-1"},
        {"name": "twin code", "when": {"code": {"min": 0.3}, "user_tokens": {"min": 40}}, "tier": "reasoning"},
        {"name": "twin night", "when": {"all": [{"keywords": ["good night"]}, {"language": "en"}]}, "tier": "fast"},
    ],
    "exemplars": [
        {"name": "tickets", "prompt": "Draft a short reply to this ticket: my invoice is wrong.", "tier": "fast"},
        {"name": "contracts", "prompt": "Review this contract for clauses that a court could void.", "tier": "reasoning"},
    ],
}  # fmt: skip
_ALIASES = {"gpt-4o": "auto", "our-writer": "beta/able-1", "o3": "delta/reasoning"}


def _labs() -> Json:
    """Configure six providers that differ in everything a provider can say, and a lab for each."""
    dialects = {"alpha": CHAT, "beta": MESSAGES, "gamma": GEMINI, "delta": RESPONSES}
    providers = {
        "alpha": _provider("alpha", CHAT, accounts={"main": "${TWIN_MAIN_KEY}", "spare": "${TWIN_SPARE_KEY}"}, embeddings="/embeddings"),
        "beta": _provider("beta", MESSAGES, headers={"x-team": "twin"}, region="eu"),
        "gamma": _provider("gamma", GEMINI, media="data", region="us"),
        "delta": _provider("delta", RESPONSES, keeps_responses=True, counts_tokens=True),
        "every": _provider("every", CHAT, RESPONSES, MESSAGES, GEMINI, auth="none", names=["every-*"], region="eu"),
        "quirky": _provider("quirky", CHAT, max_tokens="max_completion_tokens", stream_usage="always", finish="optional", refuses=["store", "metadata"], names=["quirky-*"]),
    }  # fmt: skip
    labs: Json = {
        name: {
            "about": f"The lab {name}.",
            "fast": [{"model": "plain-1"}],
            "smart": [{"model": "able-1", "effort": "low"}],
            "reasoning": [{"model": "deep-1", "effort": "high", "max_output": 4_000}],
        }
        for name in (*dialects, "every")
    }
    labs["quirky"] = {"fast": [{"model": "odd-1", "params": {"safe": True}}], "smart": [{"model": "odd-1", "effort": "high"}], "fallback": ["beta"]}  # fmt: skip
    labs["alpha"]["embeddings"] = [{"model": "vectors-1"}]
    labs["gamma"]["embeddings"] = [{"model": "vectors-1"}]
    return {"providers": providers, "labs": labs, "models": _MODELS}


def fault_lab(number: int) -> str:
    """Name the lab of a scripted fault."""
    return f"fault-{number:03}"


def _add_fault_labs(numbers: Iterable[int], value: Json) -> None:
    """Add a lab for each fault, with two targets at providers of its own; every fourth has a fallback."""
    for number in numbers:
        name = fault_lab(number)
        first, second = DIALECTS[number % 4], DIALECTS[(number // 4) % 4]
        times = {"headers": "900ms", "first_content": "1s", "idle": "800ms", "total": "5s"}
        value["providers"][name] = _provider(name, first, timeouts=times)
        value["providers"][f"{name}-b"] = _provider(f"{name}-b", second, timeouts=times)
        targets = [{"model": "able-1"}, {"provider": f"{name}-b", "model": "able-1"}]
        value["labs"][name] = {"smart": targets}
        if number % 4 == 3:
            value["labs"][name] = {"smart": targets[:1], "fallback": ["every"]}


def _keys() -> Json:
    keys: dict[str, Json] = {
        "main": {"tenant": "acme", "tags": ["app"]},
        "batch": {"tenant": "acme", "lab": "beta", "labs": ["beta", "alpha", "every"], "tiers": ["fast", "smart"], "tags": ["batch"], "allowed_tags": ["draft", "legal"]},
        "globex": {"tenant": "globex", "regions": ["eu"], "cache": "on"},
        "few": {"tenant": "acme", "limits": {"requests": "4/d", "tokens": "50k/d"}},
        "poor": {"tenant": "globex", "budgets": [{"usd": 0.15, "every": "total", "tier": ["smart", "reasoning"], "then": "fast", "soft": 0.5}]},
        "spent": {"tenant": "acme", "budgets": [{"usd": 0.02, "every": "total"}]},
        "busy": {"tenant": "acme", "limits": {"concurrency": 1}},
        "stay": {"tenant": "acme", "conversation": "sticky"},
        "cached": {"tenant": "acme", "cache": "on"},
        "admin": {"tenant": "acme", "admin": True},
        "old": {"expires": "2020-01-31"},
        "gone": {"revoked": "2020-01-31"},
    }  # fmt: skip
    return {
        name: {"sha256": hashlib.sha256(SECRETS[name].encode()).hexdigest(), **key}
        for name, key in keys.items()
    }


def keyed(faults: int) -> TwinConfiguration:
    """Configure keys, tenants, budgets, Redis, the shipped labs, and a number of faults."""
    value = {**_common("alpha"), **_labs(), **_RULES, "aliases": _ALIASES}
    _add_fault_labs(range(faults), value)
    value["retry"] = {"preferred_wait": "1s", "preferred_again": 1, "longest_wait": "2s"}
    value["cache"] = {"default": "deterministic", "ttl": "1h", "scope": "key"}
    value["metrics"] = {"keys": True, "tenants": True}
    value["budgets"] = [
        {"name": "all", "usd": 900, "every": "total", "soft": 0.0001},
        {"name": "each tenant", "per": "tenant", "usd": 400, "every": "total"},
        {"name": "each tag", "per": ["tenant", "tag"], "tag": ["batch", "app"], "usd": 300, "every": "total"},
    ]  # fmt: skip
    value["limits"] = [
        {"name": "all", "requests": "90000/d"},
        {"name": "each key", "per": "key", "requests": "80000/d", "tokens": "900M/d"},
    ]
    value["alerts"] = {"webhook": f"${{{PROVIDER}}}/hook/${{TWIN_SIDE}}"}
    return TwinConfiguration("keyed", value, _keys(), shipped=True)


def opened() -> TwinConfiguration:
    """Configure open access without Redis, and other settings of routing, cache and ledger."""
    common = _common("every", conversation="sticky", complete="hold", classifier="prior")
    value = {**common, **_labs(), **_RULES}
    value["cache"] = {"default": "on", "sampled": True, "scope": "all"}
    value["ledger"] = {"baseline": "every/reasoning", "content": "on"}
    return TwinConfiguration("opened", value, redis=False)


def recorded() -> TwinConfiguration:
    """Configure a strict and a lenient provider for each dialect, without lists of models.

    Each exchange names a model of its own. No lab lists it, so it has no circuit breaker.
    """
    providers, labs = {}, {}
    for dialect, short in SHORT.items():
        lenient: Json = {"finish": "optional"}
        for name, members in ((short, {}), (f"lenient-{short}", lenient)):
            providers[name] = _provider(name, dialect, names=[f"{name}-*"], **members)
            labs[name] = {"smart": [{"model": "usual"}]}
    for short in ("chat", "gemini"):
        labs[short]["embeddings"] = [{"model": "usual-vectors"}]
    models = {"usual": _MODELS["able-1"]}
    value = {**_common("chat"), "providers": providers, "labs": labs, "models": models}
    value["cache"] = {"default": "off"}
    return TwinConfiguration("recorded", value)
