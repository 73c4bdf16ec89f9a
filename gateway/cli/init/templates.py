"""The texts of the files that `tiergate init` writes."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from gateway.cli.init import detect
from gateway.cli.init.detect import TIERS, LocalModelServer, ShippedLab
from gateway.settings.yaml import dump_flow

_LINE_WIDTH = 96
_KEYS_COMMENTS = {
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
LOCAL_SERVER_LAB = "here"
"""The name of the lab for a server of models that was found on this machine."""


class InitPlan(NamedTuple):
    """The choices for the files."""

    labs: tuple[str, ...]
    """The labs. The first one is the default."""
    host: str
    port: int
    keys: Literal["open", "file", "env"]
    """The clients that may call: everybody here, keys of a file, or keys of TIERGATE_KEYS."""
    key_hashes: Mapping[str, str]
    """SHA-256 of the secrets of TIERGATE_KEYS, by name."""
    redis: str | None
    server: LocalModelServer | None


def format_config(
    plan: InitPlan, shipped_labs: Mapping[str, ShippedLab], origins: Mapping[str, str]
) -> str:
    """Return the text of gateway.yaml."""
    lab_files = [
        f"labs/{file.name}"
        for file in detect.list_needed_files(
            _find_labs_folder(shipped_labs), _list_needed_labs(plan)
        )
    ]
    redis_note = ", shared through Redis" if plan.redis else ""
    lines = [
        *_format_comment(
            "Written by `tiergate init`. `tiergate check` finds mistakes in it, `tiergate explain "
            "TEXT` shows where a prompt goes and why. A running gateway applies changes by itself."
        ),
        "version: 1",
        "",
        *_format_comment(
            "Other files of the configuration: labs/ has providers, models and prices; rules.yaml "
            "has your own rules, which come before the classifier."
        ),
        *_format_list("include", [*lab_files, "rules.yaml"]),
        "",
        f"server: {dump_flow({'host': plan.host, 'port': plan.port, 'max_values': 200_000})}",
        "",
        *_format_comment(
            "The lab and tier of calls that name neither; for `auto` the prompt decides the tier."
        ),
        f"default: {dump_flow({'lab': plan.labs[0], 'tier': 'smart'})}",
        "",
        *_format_labs(plan, shipped_labs, origins),
        *_format_comment(
            "Applications that name a model need no change: give that name a meaning here."
        ),
        "# aliases: {gpt-4o: auto, gpt-4o-mini: fast}",
        "",
        *_format_comment(
            "If an answer breaks off, another target finishes it; streams wait for the whole "
            "answer. The gateway decides each user turn anew, and counts the cost of lost caches."
        ),
        "routing: {complete: hold, conversation: cost-aware}",
        "",
        *_format_comment(
            "If the preferred target fails for a moment, the gateway asks it again before the next."
        ),
        "retry: {preferred_wait: 3s, preferred_again: 1}",
        "",
        *_format_comment(
            f"Equal calls of one key get the cached answer{redis_note}: embeddings, and chat at "
            "temperature 0 without tools. `default: on` caches all calls."
        ),
        "cache: {default: deterministic, ttl: 1h, scope: key}",
        "",
        *_format_comment(
            "A key reaches only files and other objects that it has made here; `pass`: also those "
            "that nobody has made here."
        ),
        "passthrough: {foreign: refuse}",
        "",
        *_format_comment("What each call cost and why: `tiergate costs`. Paths are inside ./data."),
        'ledger: {journal: ledger, store: "sqlite:///ledger.db", time_zone: UTC}',
        "",
        *_format_comment(f"Who may call: {_KEYS_COMMENTS[plan.keys]}"),
        *(["keys: keys.yaml", "metrics: {open: false}"] if plan.keys == "file" else ["keys: open"]),
        "",
        *_format_comment("What may be spent, in USD:"),
        "# budgets: [{name: all, usd: 20, every: day, soft: 0.8}]",
    ]
    return "\n".join(lines) + "\n"


def _format_labs(
    plan: InitPlan, shipped_labs: Mapping[str, ShippedLab], origins: Mapping[str, str]
) -> list[str]:
    """Return comments on the first models of each lab, and the lab of a server that was found."""
    lines = _format_comment("The labs, and what their tiers call first:")
    for lab in (shipped_labs[name] for name in plan.labs if name != LOCAL_SERVER_LAB):
        tiers = ", ".join(f"{tier} {lab.models[tier]}" for tier in TIERS if tier in lab.models)
        lines += _format_comment(f"{lab.name}: {tiers}", "  ")
        lines += _format_comment(_describe_credential(lab, origins), "    ")
    if "local" not in plan.labs:
        lines += _format_comment(
            "local: a tiny model on this machine, where no other can answer", "  "
        )
    return [*lines, "", *(_format_local_lab(plan.server) if plan.server is not None else ())]


def _describe_credential(lab: ShippedLab, origins: Mapping[str, str]) -> str:
    if not lab.credentials:
        return "needs nothing" if lab.name == "local" else "on where a host of it has a credential"
    name = lab.credentials[0]
    return f"needs {name}" + (f", found in {origins[name]}" if name in origins else "")


def _format_local_lab(server: LocalModelServer) -> list[str]:
    """Return a lab with the models of a server on this machine."""
    models = server.models
    model_by_tier = {"fast": models[0], "smart": models[len(models) // 2], "reasoning": models[-1]}
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
        f"  {LOCAL_SERVER_LAB}: {dump_flow(provider)}",
        "labs:",
        f"  {LOCAL_SERVER_LAB}:",
        *(f"    {tier}: [{dump_flow({'model': model})}]" for tier, model in model_by_tier.items()),
        "models:",
        *(
            f"  {dump_flow(f'{LOCAL_SERVER_LAB}/{model}')}: {{price: {{input: 0, output: 0}}}}"
            for model in dict.fromkeys(model_by_tier.values())
        ),
        "",
    ]


def format_env_example(
    plan: InitPlan, shipped_labs: Mapping[str, ShippedLab], origins: Mapping[str, str]
) -> str:
    """Return the text of .env.example: the variables that are still to be set."""
    lines = []
    for name in plan.labs:
        for variable in shipped_labs[name].credentials[:1] if name in shipped_labs else ():
            if variable not in origins:
                lines += [f"# {name}", f"{variable}="]
    if plan.redis is not None and "REDIS_URL" not in origins:
        lines += [
            "# Shares cache, limits and conversations among processes.",
            f"REDIS_URL={plan.redis}",
        ]
    if plan.key_hashes:
        pairs = ",".join(f"{name}={digest}" for name, digest in plan.key_hashes.items())
        lines += [
            "# Clients' keys, each a name and the SHA-256 of its secret.",
            f"TIERGATE_KEYS={pairs}",
        ]
    if lines:
        lines.insert(
            0, "# Copy this to .env and fill it in. `tiergate` reads it where it is started."
        )
    return "".join(f"{line}\n" for line in lines)


def build_files(
    plan: InitPlan, shipped_labs: Mapping[str, ShippedLab], origins: Mapping[str, str], folder: Path
) -> dict[Path, str]:
    """Return the text of each file by its path. The configuration comes first."""
    source = _find_labs_folder(shipped_labs)
    text_by_file = {folder / "gateway.yaml": format_config(plan, shipped_labs, origins)}
    for file in detect.list_needed_files(source, _list_needed_labs(plan)):
        text_by_file[folder / "labs" / file.name] = file.read_text("utf-8")
    text_by_file[folder / "rules.yaml"] = (source.parent / "rules.yaml").read_text("utf-8")
    if text := format_env_example(plan, shipped_labs, origins):
        text_by_file[Path(".env.example")] = text
    return text_by_file


def _list_needed_labs(plan: InitPlan) -> list[str]:
    """List the labs whose files are needed. The small model's lab always is."""
    return [*(name for name in plan.labs if name != LOCAL_SERVER_LAB), "local"]


def _find_labs_folder(shipped_labs: Mapping[str, ShippedLab]) -> Path:
    return next(iter(shipped_labs.values())).file.parent


def _format_list(name: str, items: Sequence[str]) -> list[str]:
    line = f"{name}: [{', '.join(items)}]"
    return textwrap.wrap(line, _LINE_WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _format_comment(text: str, indent: str = "") -> list[str]:
    prefix = f"# {indent}"
    return textwrap.wrap(
        text, _LINE_WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False
    )
