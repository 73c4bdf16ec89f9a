"""Write a draft as text: a configuration with comments, and lines for a .env file."""

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.core.target import TIERS
from gateway.importers.draft import ConfigDraft
from gateway.settings.yaml import dump_flow

_LINE_WIDTH = 96


def format_config(draft: ConfigDraft, source: str) -> str:
    """Return the text of the configuration. `source` names the file that it was imported from."""
    lines = [
        f"# Imported from {source} by `tiergate import`.",
        "# `tiergate check` finds mistakes. `tiergate explain TEXT` shows where a prompt goes.",
        "version: 1",
        "",
        *_format_inline("server", draft.server),
        *_format_inline("default", draft.default),
        *_format_block("aliases", draft.aliases, "Model names that applications ask for."),
        *([f"cache: {dump_flow(draft.cache)}", ""] if draft.cache is not None else ()),
        *_format_list("limits", draft.limits),
        *_format_list("budgets", draft.budgets),
        "# Credentials are in the environment or in .env, never here.",
        *_format_providers(draft.providers),
        *_format_labs(draft.labs),
        *_format_models(draft.models),
        *_format_list("choices", draft.choices),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def format_env_lines(draft: ConfigDraft) -> dict[str, str]:
    """Return the values of a .env file by name, with quotes where they need them."""
    return {name: _quote_value(value) for name, value in draft.environ.items()}


def _format_inline(name: str, part: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {dump_flow(part)}", ""] if part else []


def _format_block(name: str, part: Mapping[str, Any], comment: str) -> list[str]:
    if not part:
        return []
    return [
        f"# {comment}",
        f"{name}:",
        *(f"  {dump_flow(key)}: {dump_flow(value)}" for key, value in part.items()),
        "",
    ]


def _format_models(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    comment = "# Facts about models: limits, prices (USD per million tokens)."
    return [comment, *_format_parts("models", models), ""] if models else []


def _format_parts(name: str, parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of a mapping of mappings, each on one line if there is room."""
    lines = [f"{name}:" if parts else f"{name}: {{}}"]
    for key, part in parts.items():
        line = f"  {dump_flow(key)}: {dump_flow(part)}"
        if len(line) <= _LINE_WIDTH:
            lines.append(line)
        else:
            lines += [
                f"  {dump_flow(key)}:",
                *(f"    {dump_flow(field)}: {dump_flow(value)}" for field, value in part.items()),
            ]
    return lines


def _format_list(name: str, parts: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [f"  - {dump_flow(part)}" for part in parts]
    return [f"{name}:", *rows, ""] if rows else []


def _format_providers(providers: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [*_format_parts("providers", providers), ""]


def _format_labs(labs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        "# The gateway tries the targets of a tier in order." if labs else "",
        "labs:" if labs else "labs: {}",
    ]
    for name, part in labs.items():
        lines.append(f"  {dump_flow(name)}:")
        anchors: dict[str, str] = {}
        for field in ("about", *TIERS, "embeddings"):
            if field not in part:
                continue
            rows = part[field]
            text = dump_flow(rows)
            if text in anchors:
                lines.append(f"    {field}: *{anchors[text]}")
                continue
            is_shared = sum(part.get(tier) == rows for tier in TIERS) > 1 and field in TIERS
            anchor_mark = f" &{_make_anchor(name, field)}" if is_shared else ""
            if is_shared:
                anchors[text] = _make_anchor(name, field)
            if len(text) + len(field) < _LINE_WIDTH or not isinstance(rows, list):
                lines.append(f"    {field}:{anchor_mark} {text}")
            else:
                lines += [
                    f"    {field}:{anchor_mark}",
                    *(f"      - {dump_flow(row)}" for row in rows),
                ]
    return [*lines, ""]


def _make_anchor(lab: str, tier: str) -> str:
    return "".join(char if char.isalnum() and char.isascii() else "-" for char in f"{lab}-{tier}")


def _quote_value(value: str) -> str:
    """Return a value as dotenv reads it: plain, or in single quotes."""
    if value and all(char.isalnum() or char in "-_.:/=,@+" for char in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
