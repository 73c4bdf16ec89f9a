"""The files that `tiergate init` writes, as texts."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from gateway.cli.init import detect
from gateway.cli.init.detect import TIERS, LocalModelServer, ShippedLab
from gateway.settings.yaml import flow

_WIDTH = 96
_CALLERS = {
    "open": (
        "`open` is everybody on this machine; for others write `keys: keys.yaml` and run "
        "`tiergate keys add NAME`."
    ),
    "file": "`tiergate keys add NAME` adds one. The file has hashes, no secrets.",
    "env": (
        "those of TIERGATE_KEYS. For keys with limits and budgets of their own write "
        "`keys: keys.yaml` and run `tiergate keys add NAME`."
    ),
}
HERE = "here"
"""The lab of a server of models that was found on this machine."""


class InitPlan(NamedTuple):
    """What is to be written."""

    labs: tuple[str, ...]
    """The first is the default."""
    host: str
    port: int
    keys: Literal["open", "file", "env"]
    """Who may call: everybody here, those of a file, those of TIERGATE_KEYS."""
    hashes: Mapping[str, str]
    """Of the secrets of TIERGATE_KEYS, by name."""
    redis: str | None
    server: LocalModelServer | None


def config(wish: InitPlan, known: Mapping[str, ShippedLab], origins: Mapping[str, str]) -> str:
    """The text of gateway.yaml."""
    include = [f"labs/{file.name}" for file in detect.needed(_folder(known), _chosen(wish))]
    shared = ", shared through Redis" if wish.redis else ""
    lines = [
        *_said(
            "Written by `tiergate init`. `tiergate check` finds mistakes in it, `tiergate explain "
            "TEXT` says where a prompt would go and why. A gateway that runs takes changes over."
        ),
        "version: 1",
        "",
        *_said(
            "What else belongs to it. labs/ has providers, models and prices; rules.yaml has rules "
            "of yours, which stand before the classifier."
        ),
        *_list("include", [*include, "rules.yaml"]),
        "",
        f"server: {flow({'host': wish.host, 'port': wish.port, 'max_values': 200_000})}",
        "",
        *_said("Where a call goes that names neither lab nor tier; `auto` goes by the prompt."),
        f"default: {flow({'lab': wish.labs[0], 'tier': 'smart'})}",
        "",
        *_labs(wish, known, origins),
        *_said("Applications that name a model need no change: give that name a meaning here."),
        "# aliases: {gpt-4o: auto, gpt-4o-mini: fast}",
        "",
        *_said(
            "Another target finishes an answer that breaks off; streams wait until all is there. "
            "Each user turn is decided anew, but cached prompts have their price."
        ),
        "routing: {complete: hold, conversation: cost-aware}",
        "",
        *_said("A preferred target that fails for a moment is asked again before the next one is."),
        "retry: {preferred_wait: 3s, preferred_again: 1}",
        "",
        *_said(
            f"Equal calls get the kept answer, for each key apart{shared}: embeddings, and chat at "
            "temperature 0 without tools. `default: on` caches all."
        ),
        "cache: {default: deterministic, ttl: 1h, scope: key}",
        "",
        *_said("What each call cost and why: `tiergate costs`. Paths are inside ./data."),
        'ledger: {journal: ledger, store: "sqlite:///ledger.db", time_zone: UTC}',
        "",
        *_said(f"Who may call: {_CALLERS[wish.keys]}"),
        *(["keys: keys.yaml", "metrics: {open: false}"] if wish.keys == "file" else ["keys: open"]),
        "",
        *_said("What may be spent, in USD:"),
        "# budgets: [{name: all, usd: 20, every: day, soft: 0.8}]",
    ]
    return "\n".join(lines) + "\n"


def _labs(wish: InitPlan, known: Mapping[str, ShippedLab], origins: Mapping[str, str]) -> list[str]:
    """What the labs' tiers call first, and the lab of a server that was found."""
    lines = _said("The labs, and what their tiers call first:")
    for lab in (known[name] for name in wish.labs if name != HERE):
        tiers = ", ".join(f"{tier} {lab.models[tier]}" for tier in TIERS if tier in lab.models)
        lines += _said(f"{lab.name}: {tiers}", "  ")
        lines += _said(_needs(lab, origins), "    ")
    if "local" not in wish.labs:
        lines += _said("local: a tiny model on this machine, where no other can answer", "  ")
    return [*lines, "", *(_here(wish.server) if wish.server is not None else ())]


def _needs(lab: ShippedLab, origins: Mapping[str, str]) -> str:
    if not lab.credentials:
        return "needs nothing" if lab.name == "local" else "on where a host of it has a credential"
    name = lab.credentials[0]
    return f"needs {name}" + (f", found in {origins[name]}" if name in origins else "")


def _here(server: LocalModelServer) -> list[str]:
    """A lab of the models that a server here has."""
    models = server.models
    picks = {"fast": models[0], "smart": models[len(models) // 2], "reasoning": models[-1]}
    provider = {
        "base_url": server.url,
        "dialects": {"openai-chat": "/chat/completions"},
        "auth": "none",
        "max_tokens": "max_tokens",
        "refuses": ["store"],
        "media": "data",
    }
    return [
        f"# {server.kind} on this machine. Give each tier the model that it deserves.",
        "providers:",
        f"  {HERE}: {flow(provider)}",
        "labs:",
        f"  {HERE}:",
        *(f"    {tier}: [{flow({'model': model})}]" for tier, model in picks.items()),
        "models:",
        *(
            f"  {flow(f'{HERE}/{model}')}: {{price: {{input: 0, output: 0}}}}"
            for model in dict.fromkeys(picks.values())
        ),
        "",
    ]


def example(wish: InitPlan, known: Mapping[str, ShippedLab], origins: Mapping[str, str]) -> str:
    """The text of .env.example: what the environment must say, and does not yet."""
    lines = []
    for name in wish.labs:
        for variable in known[name].credentials[:1] if name in known else ():
            if variable not in origins:
                lines += [f"# {name}", f"{variable}="]
    if wish.redis is not None and "REDIS_URL" not in origins:
        lines += [
            "# Shares cache, limits and conversations among processes.",
            f"REDIS_URL={wish.redis}",
        ]
    if wish.hashes:
        pairs = ",".join(f"{name}={digest}" for name, digest in wish.hashes.items())
        lines += [
            "# Clients' keys, each a name and the SHA-256 of its secret.",
            f"TIERGATE_KEYS={pairs}",
        ]
    if lines:
        lines.insert(
            0, "# Copy this to .env and fill it in. `tiergate` reads it where it is started."
        )
    return "".join(f"{line}\n" for line in lines)


def files(
    wish: InitPlan, known: Mapping[str, ShippedLab], origins: Mapping[str, str], folder: Path
) -> dict[Path, str]:
    """All that is written, by its place; the configuration is the first."""
    source = _folder(known)
    found = {folder / "gateway.yaml": config(wish, known, origins)}
    for file in detect.needed(source, _chosen(wish)):
        found[folder / "labs" / file.name] = file.read_text("utf-8")
    found[folder / "rules.yaml"] = (source.parent / "rules.yaml").read_text("utf-8")
    if text := example(wish, known, origins):
        found[Path(".env.example")] = text
    return found


def _chosen(wish: InitPlan) -> list[str]:
    """Labs whose files are needed; the small model's is always."""
    return [*(name for name in wish.labs if name != HERE), "local"]


def _folder(known: Mapping[str, ShippedLab]) -> Path:
    return next(iter(known.values())).file.parent


def _list(name: str, items: Sequence[str]) -> list[str]:
    whole = f"{name}: [{', '.join(items)}]"
    return textwrap.wrap(whole, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _said(text: str, indent: str = "") -> list[str]:
    head = f"# {indent}"
    return textwrap.wrap(
        text, _WIDTH, initial_indent=head, subsequent_indent=head, break_on_hyphens=False
    )
