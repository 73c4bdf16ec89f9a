"""Reading a configuration: files, environment, schema; every mistake with its line."""

import hashlib
from collections.abc import Mapping
from pathlib import Path as File
from typing import NamedTuple

import msgspec
from pydantic import ValidationError

from gateway.core import jsonio
from gateway.settings import environment as env
from gateway.settings import yaml
from gateway.settings.environment import proxies, strays
from gateway.settings.errors import ConfigError, Mistake, Path, UnsetVariable, nearest, written
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.includes import IncludedFiles, Where, shown
from gateway.settings.overrides import put
from gateway.settings.schema.root import Config
from gateway.settings.schema.rules import RangePart

_SECRET = 8
"""Characters that a secret has at least; shorter values stand in words by chance."""


RULES = ("guards", "choices")
"""The parts of a configuration that are its rules."""
NAME_EMBEDDING_MODEL = (
    "Name an embedding model that a lab has under `embeddings`, as `embed: text-embedding-3-small`."
)
"""What to do where `cache.near` names no model that makes vectors."""


class ConfigSource(msgspec.Struct):
    """A configuration as written: one value out of all its files, and where each part stands."""

    file: File
    raw: dict[str, yaml.Value]
    """Before anything of the environment is put in."""
    where: Where
    config: Config
    version: str
    """Hash of what is written, but for credentials; a file's name and comments do not count."""
    filled: dict[str, str] = {}
    """Strings with the environment put in, and what stood there before."""
    notes: tuple[Mistake, ...] = ()
    """Warnings of what was left out of it."""

    def __repr__(self) -> str:
        return f"Source({str(self.file)!r}, version={self.version!r})"

    def mistake(self, path: Path, message: str, hint: str = "", *, warn: bool = False) -> Mistake:
        """A finding at a path, with the file and line of its nearest part that is written.

        A value that the environment gave may be a secret: what is written is quoted in its place.
        """
        file, line = next(
            (
                self.where[path[:end]]
                for end in range(len(path), -1, -1)
                if path[:end] in self.where
            ),
            (shown(self.file), None),
        )
        for value, text in self.filled.items():
            message = message.replace(repr(value), repr(text))
            if len(value) >= _SECRET:
                message = message.replace(value, text)
        return Mistake(
            level="warning" if warn else "error",
            file=file,
            line=line,
            path=written(path),
            message=message,
            hint=hint,
        )


class CandidateRules(NamedTuple):
    """Guards and choices in place of those that a configuration has: a candidate for them."""

    name: str
    """What findings call it."""
    text: str
    """YAML with `guards`, `choices` or both."""


def load(
    file: File,
    environ: Mapping[str, str],
    reads: FileSnapshot | None = None,
    rules: CandidateRules | None = None,
) -> ConfigSource:
    """Read and validate a configuration. Raises ConfigError with everything that is wrong.

    `reads` is told of each file that is read; `rules` stand in place of what is written.
    """
    reads = reads or FileSnapshot()
    files = IncludedFiles(file, reads)
    if rules is not None:
        files.replace(rules.text, rules.name, RULES)
    raw, where, mistakes = files.raw, files.where, files.mistakes
    found, wrong = env.overrides(environ, frozenset(Config.model_fields))
    mistakes += wrong
    for words, value in found.items():
        mistake = put(raw, where, words, value)
        mistakes += [] if mistake is None else [mistake]
    if mistakes:
        raise ConfigError(mistakes)
    version = hashlib.blake2b(jsonio.dumps(_public(raw)), digest_size=6).hexdigest()
    source = ConfigSource(
        file, raw, where, Config(version=1), version, notes=tuple(strays(environ))
    )
    expanded = _expand(raw, (), environ, source, mistakes, reads)
    try:
        source.config = Config.model_validate(expanded)
    except ValidationError as error:
        told = {item.path for item in mistakes}
        translated = [_translate(source, dict(item)) for item in error.errors()]
        mistakes += [item for item in translated if item.path not in told]
    if mistakes:
        raise ConfigError(mistakes)
    source.notes += tuple(proxies(environ, source.config))
    return source


def _public(raw: dict[str, yaml.Value]) -> dict[str, yaml.Value]:
    """What is written without credentials that stand in it themselves."""
    providers = raw.get("providers")
    if not isinstance(providers, dict):
        return raw
    parts: dict[str, yaml.Value] = {}
    for name, part in providers.items():
        parts[name] = part
        accounts = part.get("accounts") if isinstance(part, dict) else None
        if isinstance(part, dict) and isinstance(accounts, dict):
            known: dict[str, yaml.Value] = {
                key: text if isinstance(text, str) and "${" in text else bool(text)
                for key, text in accounts.items()
            }
            parts[name] = {**part, "accounts": known}
    return {**raw, "providers": parts}


def _expand(
    value: yaml.Value,
    path: Path,
    environ: Mapping[str, str],
    source: ConfigSource,
    mistakes: list[Mistake],
    reads: FileSnapshot,
) -> yaml.Value:
    if isinstance(value, dict):
        return {
            name: _expand(item, (*path, name), environ, source, mistakes, reads)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            _expand(item, (*path, at), environ, source, mistakes, reads)
            for at, item in enumerate(value)
        ]
    if isinstance(value, str) and "\0" in value:  # no file, header or name has one
        mistakes.append(source.mistake(path, "holds a NUL character."))
        return ""
    if not isinstance(value, str) or "${" not in value:
        return value
    for file in env.files(value):
        reads.note(file)
    try:
        text = env.expand(value, environ)
    except UnsetVariable as error:
        # An account without its secret turns its provider off, and that is no mistake.
        if not (error.variable and path[:1] == ("providers",) and path[2:3] == ("accounts",)):
            hint = "Write ${NAME:-default} to give a default." if error.variable else ""
            mistakes.append(source.mistake(path, f"{error}.", hint))
        return ""
    source.filled[text] = value
    return text


_WORDS = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "decimal_max_digits": "has too many digits",
    "decimal_max_places": "has too many digits",
    "decimal_whole_digits": "has too many digits",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
"""Findings of pydantic in the words of a person who writes YAML."""


def _translate(source: ConfigSource, item: dict[str, object]) -> Mistake:
    path = item["loc"] if isinstance(item["loc"], tuple) else ()
    path = path[:-1] if path[-1:] == ("[key]",) else path
    kind, given = str(item["type"]), item["input"]
    context = item.get("ctx")
    context = context if isinstance(context, dict) else {}
    if kind == "extra_forbidden":
        return source.mistake(path, "no such key.", nearest(str(path[-1]), _siblings(path)))
    if kind == "missing":
        hint = nearest(str(path[-2]), _beside(source, path[:-1])) if len(path) > 1 else ""
        if path == ("cache", "near", "embed"):
            hint = NAME_EMBEDDING_MODEL
        return source.mistake(path[:-1], f"the key {path[-1]!r} is missing.", hint)
    if kind == "literal_error":
        words = str(context["expected"]).replace(" or ", ", ").split(", ")
        hint = nearest(str(given), [word.strip("'") for word in words])
        if given in words:
            hint = "Write it without quotes."
        return source.mistake(path, f"{given!r} is not allowed.", hint)
    if kind == "string_pattern_mismatch":
        parts = str(context["pattern"]).strip("^$()").split("|")
        words = [word for word in parts if "*" not in word]  # what is no word is a file's name
        return source.mistake(path, f"{given!r} is not allowed.", nearest(str(given), words))
    message = str(item["msg"]).removeprefix("Value error, ")
    hint = (
        "Write it as {min: 1, max: 30}." if context.get("class_name") == RangePart.__name__ else ""
    )
    if kind == "string_type" and isinstance(given, int | float):
        hint = "Put it in quotes."
    return source.mistake(path, f"{_WORDS.get(kind, message).format(**context)}.", hint)


def _beside(source: ConfigSource, path: Path) -> list[str]:
    """Return the names beside one that a variable has made, which may be misspelt."""
    _, line = source.where.get(path, ("", 1))
    part = source.raw.get(str(path[0]))
    return [] if line is not None or not isinstance(part, dict) else [*part.keys() - {path[-1]}]


def _siblings(path: Path) -> list[str]:
    """The keys that may stand where an unknown one does."""
    model: object = Config
    for part in path[:-1]:
        model = inside(model, part)
    fields = getattr(model, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def inside(model: object, part: str | int) -> object:
    """The schema one step down: a field's, or that of a list's or mapping's items."""
    fields = getattr(model, "model_fields", {})
    field = next((f for name, f in fields.items() if part in (name, f.alias)), None)
    todo = [field.annotation] if field is not None else []
    while todo:
        item = todo.pop()
        if hasattr(item, "model_fields"):
            return item
        todo += list(getattr(item, "__args__", ()))
    return model
