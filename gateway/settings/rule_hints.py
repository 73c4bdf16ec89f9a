"""Hints for common mistakes in rules: each names the remedy."""

import re
from collections.abc import Mapping

from pydantic import BaseModel

from gateway.settings.errors import Path
from gateway.settings.schema.rules import LANGUAGES, ChoicePart, GuardPart, WhenPart

RULE_SECTIONS = ("guards", "choices")
"""The sections of a configuration that contain rules."""
_SCHEMAS: Mapping[str, type[BaseModel]] = {"guards": GuardPart, "choices": ChoicePart}
_LANGUAGE_CODES = {
    name: code
    for code, names in {
        "en": "english",
        "de": "german deutsch",
        "fr": "french français francais",
        "es": "spanish español espanol",
        "pt": "portuguese português portugues",
        "it": "italian italiano",
        "nl": "dutch nederlands",
        "pl": "polish polski",
        "ru": "russian русский",
        "uk": "ukrainian українська ua",
        "zh": "chinese mandarin 中文 cn",
        "ja": "japanese 日本語 jp",
        "ko": "korean 한국어 kr",
        "ar": "arabic العربية",
        "hi": "hindi हिन्दी",
        "tr": "turkish türkçe turkce",
    }.items()
    for name in names.split()
}
"""Language codes by the names that people write instead."""
_CONDITIONS_BY_OTHER_NAME = {
    **dict.fromkeys(("regex", "regexp", "pattern"), "matches"),
    "share": "traffic",
}
"""Conditions by other names that people use for them."""
_REGEX_PATTERN = re.compile(
    r"\.[*+?]|\\[bBdDsSwW]|\[\^|\[\w-\w|\w\|\w|^\^\w|\(\?|[^\W\d_]{3}\*(?!\w)"
)
"""Matches text that is typical of regular expressions and globs, and rare in words: `prov.*`,
`a|b`, `prov*`."""


def find_rule_name(raw: Mapping[str, object], path: Path) -> str:
    """Return the name of the rule that contains a path; empty if no rule does."""
    if len(path) < 2 or path[0] not in RULE_SECTIONS or not isinstance(path[1], int):
        return ""
    rules = raw.get(path[0])
    rule = rules[path[1]] if isinstance(rules, list) and path[1] < len(rules) else None
    name = rule.get("name") if isinstance(rule, dict) else None
    return name if isinstance(name, str) else ""


def suggest_place(raw: Mapping[str, object], path: Path) -> str:
    """Return a hint if an unknown key of a rule belongs elsewhere, or to a list; else nothing."""
    if len(path) < 3 or path[0] not in RULE_SECTIONS:
        return ""
    key = str(path[-1])
    if list_hint := _find_unbracketed_list(find_value(raw, path[:-1]), key):
        return list_hint
    if len(path) > 3:
        condition = _CONDITIONS_BY_OTHER_NAME.get(key)
        return f"Did you mean {condition!r}?" if condition else ""
    other_section = "choices" if path[0] == "guards" else "guards"
    if key in _SCHEMAS[other_section].model_fields:
        return f"`{key}` belongs to {other_section}: {path[0]} have none."
    if key in WhenPart.model_fields:
        return f"`{key}` is a condition: write it below `when`."
    return ""


def suggest_language(value: str) -> str:
    """Return a hint with the code of a language; for an unknown language, with all codes."""
    code = _LANGUAGE_CODES.get(value.strip().lower())
    return (
        f"Write {code!r}: languages have their codes of ISO 639-1."
        if code
        else f"Known: {', '.join(LANGUAGES)}."
    )


def find_keyword_problem(keyword: str, *, stands_alone: bool) -> tuple[str, str] | None:
    """Return a message and a hint if a keyword is probably a mistake; None if it is not.

    `stands_alone`: True if the keyword is written without a list.
    """
    if _REGEX_PATTERN.search(keyword):
        message = f"{keyword!r} is looked for as it stands: keywords are words, no patterns."
        return message, f"For a regular expression write `matches`: {keyword!r}."
    if stands_alone and "," in keyword:
        message = f"{keyword!r} is one keyword, with its comma."
        words = ", ".join(word.strip() for word in keyword.split(","))
        return message, f"A list needs brackets: keywords: [{words}]."
    return None


def _find_unbracketed_list(mapping: object, key: str) -> str:
    """Return a hint if the second word of `{keywords: prove, derive}` has become a key."""
    if not isinstance(mapping, dict) or mapping.get(key, "") is not None:
        return ""
    keys = list(mapping)
    start = end = keys.index(key)
    while start and mapping[keys[start]] is None:
        start -= 1
    if keys[start] not in _LIST_KEYS or not isinstance(mapping[keys[start]], str):
        return ""
    while end + 1 < len(keys) and mapping[keys[end + 1]] is None:
        end += 1
    words = ", ".join([mapping[keys[start]], *keys[start + 1 : end + 1]])
    return f"A list needs brackets: {keys[start]}: [{words}]."


def find_value(raw: object, path: Path) -> object:
    """Return the value at a path; None if there is none."""
    for step in path:
        if isinstance(raw, dict):
            raw = raw.get(step)
        elif isinstance(raw, list) and isinstance(step, int):
            raw = raw[step]
        else:
            return None
    return raw


def _takes_list(annotation: object) -> bool:
    """Return True if an annotation is a list, or has a list as an alternative."""
    pending = [annotation]
    while pending:
        item = pending.pop()
        if getattr(item, "__origin__", None) is list:
            return True
        pending += [getattr(item, "__value__", None), *getattr(item, "__args__", ())]
        pending = [candidate for candidate in pending if candidate is not None]
    return False


_LIST_KEYS = frozenset(
    name
    for schema in (WhenPart, GuardPart)
    for name, field in schema.model_fields.items()
    if name not in ("any", "all") and _takes_list(field.annotation)
)
"""Keys of rules that take a list of words."""
