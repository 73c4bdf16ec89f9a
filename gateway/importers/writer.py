"""The texts that a draft becomes: a commented configuration, and lines for a .env."""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.core.target import TIERS
from gateway.importers.draft import ConfigDraft
from gateway.settings.yaml import flow

_WIDTH = 96


def config(draft: ConfigDraft, source: str) -> str:
    """The text of the configuration; `source` says what it was made of."""
    lines = [
        f"# Imported from {source} by `tiergate import`.",
        "# `tiergate check` finds mistakes in it, `tiergate explain TEXT` says where one would go.",
        "version: 1",
        "",
        *_one("server", draft.server),
        *_one("default", draft.default),
        *_block("aliases", draft.aliases, "Names that applications ask for."),
        *([f"cache: {flow(draft.cache)}", ""] if draft.cache is not None else ()),
        *_list("limits", draft.limits),
        *_list("budgets", draft.budgets),
        "# Credentials stand in the environment or in .env, never here.",
        *_providers(draft.providers),
        *_labs(draft.labs),
        *_models(draft.models),
        *_list("choices", draft.choices),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def environ(draft: ConfigDraft) -> dict[str, str]:
    """Lines for a .env by name, quoted where they must be."""
    return {name: _quoted(value) for name, value in draft.environ.items()}


def _one(name: str, part: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {flow(part)}", ""] if part else []


def _block(name: str, part: Mapping[str, Any], about: str) -> list[str]:
    if not part:
        return []
    return [f"# {about}", f"{name}:", *(f"  {flow(n)}: {flow(v)}" for n, v in part.items()), ""]


def _models(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    about = "# What is known of models: limits, prices (USD per million tokens)."
    return [about, *_parts("models", models), ""] if models else []


def _parts(name: str, parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A mapping of mappings, each on a line where there is room."""
    lines = [f"{name}:" if parts else f"{name}: {{}}"]
    for key, part in parts.items():
        whole = f"  {flow(key)}: {flow(part)}"
        if len(whole) <= _WIDTH:
            lines.append(whole)
        else:
            lines += [f"  {flow(key)}:", *(f"    {flow(n)}: {flow(v)}" for n, v in part.items())]
    return lines


def _list(name: str, parts: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [f"  - {flow(part)}" for part in parts]
    return [f"{name}:", *rows, ""] if rows else []


def _providers(providers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [*_parts("providers", providers), ""]


def _labs(labs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "# Targets of a tier are tried in order." if labs else "",
        "labs:" if labs else "labs: {}",
    ]
    for name, part in labs.items():
        lines.append(f"  {flow(name)}:")
        known: dict[str, str] = {}
        for field in ("about", *TIERS, "embeddings"):
            if field not in part:
                continue
            rows = part[field]
            text = flow(rows)
            if text in known:
                lines.append(f"    {field}: *{known[text]}")
                continue
            shared = sum(part.get(tier) == rows for tier in TIERS) > 1 and field in TIERS
            mark = f" &{_anchor(name, field)}" if shared else ""
            if shared:
                known[text] = _anchor(name, field)
            if len(text) + len(field) < _WIDTH or not isinstance(rows, list):
                lines.append(f"    {field}:{mark} {text}")
            else:
                lines += [f"    {field}:{mark}", *(f"      - {flow(row)}" for row in rows)]
    return [*lines, ""]


def _anchor(lab: str, tier: str) -> str:
    return "".join(sign if sign.isalnum() and sign.isascii() else "-" for sign in f"{lab}-{tier}")


def _quoted(value: str) -> str:
    """As dotenv reads it: plain, or in single quotes."""
    if value and all(sign.isalnum() or sign in "-_.:/=,@+" for sign in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
