"""Read a configuration: files, environment and schema, with the line of every mistake."""

import hashlib
from collections.abc import Mapping
from pathlib import Path as File
from typing import NamedTuple

import msgspec
from pydantic import ValidationError

from gateway.core import jsonio
from gateway.settings import environment as env
from gateway.settings import rule_hints, yaml
from gateway.settings.environment import find_stray_variables, find_unused_proxies
from gateway.settings.errors import (
    ConfigError,
    Mistake,
    Path,
    UnsetVariable,
    format_path,
    suggest_name,
)
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.former_keys import (
    RenamedKey,
    RenamedValue,
    rename_former_keys,
    rename_former_values,
)
from gateway.settings.includes import IncludedFiles, Locations, display_path
from gateway.settings.overrides import apply_override
from gateway.settings.rule_hints import RULE_SECTIONS
from gateway.settings.schema.root import Config
from gateway.settings.schema.rules import LANGUAGES, RangePart

_MIN_SECRET_CHARS = 8
"""The least length of a secret. Shorter values occur in other words by chance."""


EMBEDDING_MODEL_HINT = (
    "Name an embedding model that a lab has under `embeddings`, as `embed: text-embedding-3-small`."
)
"""The hint if `cache.near` names no embedding model."""


class ConfigSource(msgspec.Struct):
    """A configuration as written: one value from all its files, with the place of each part."""

    file: File
    raw: dict[str, yaml.Value]
    """The merged value with TIERGATE_* settings, before `${...}` placeholders are replaced."""
    locations: Locations
    config: Config
    version: str
    """A hash of `raw` without credentials of accounts. File names and comments do not count."""
    expanded_strings: dict[str, str] = {}
    """Strings whose placeholders were replaced, each with the original string."""
    warnings: tuple[Mistake, ...] = ()
    """Warnings from reading: former keys, stray variables, unused proxies."""

    def __repr__(self) -> str:
        return f"Source({str(self.file)!r}, version={self.version!r})"

    def make_mistake(
        self, path: Path, message: str, hint: str = "", *, warn: bool = False
    ) -> Mistake:
        """Return a mistake at a path, with the file and line of the nearest part that is written.

        A value from the environment may be a secret, so the message quotes the original string
        instead.
        """
        file, line = next(
            (
                self.locations[path[:length]]
                for length in range(len(path), -1, -1)
                if path[:length] in self.locations
            ),
            (display_path(self.file), None),
        )
        for value, text in self.expanded_strings.items():
            message = message.replace(repr(value), repr(text))
            if len(value) >= _MIN_SECRET_CHARS:
                message = message.replace(value, text)
        return Mistake(
            level="warning" if warn else "error",
            file=file,
            line=line,
            path=format_path(path),
            rule=rule_hints.find_rule_name(self.raw, path),
            message=message,
            hint=hint,
        )


class CandidateRules(NamedTuple):
    """A candidate: guards and choices that replace those of a configuration."""

    name: str
    """The name that mistakes have as their file."""
    text: str
    """YAML with `guards`, `choices`, or both."""


def load(
    file: File,
    environ: Mapping[str, str],
    snapshot: FileSnapshot | None = None,
    rules: CandidateRules | None = None,
) -> ConfigSource:
    """Read and validate a configuration. Raises ConfigError with everything that is wrong.

    `snapshot` records each file that is read; `rules` replace those in the files.
    """
    snapshot = snapshot or FileSnapshot()
    files = IncludedFiles(file, snapshot)
    if rules is not None:
        files.replace_sections(rules.text, rules.name, RULE_SECTIONS)
    raw, locations, mistakes = files.raw, files.locations, files.mistakes
    overrides, override_mistakes = env.read_overrides(environ, frozenset(Config.model_fields))
    mistakes += override_mistakes
    for path, value in overrides.items():
        mistake = apply_override(raw, locations, path, value)
        mistakes += [] if mistake is None else [mistake]
    if mistakes:
        raise ConfigError(mistakes)
    renamed: list[RenamedKey | RenamedValue] = [
        *rename_former_keys(raw, locations),
        *rename_former_values(raw),
    ]
    version = hashlib.blake2b(jsonio.dumps(_without_credentials(raw)), digest_size=6).hexdigest()
    source = ConfigSource(
        file,
        raw,
        locations,
        Config(version=1),
        version,
        warnings=tuple(find_stray_variables(environ)),
    )
    source.warnings += tuple(
        source.make_mistake(item.path, item.message, warn=True) for item in renamed
    )
    expanded = _expand_value(raw, (), environ, source, mistakes, snapshot)
    try:
        source.config = Config.model_validate(expanded)
    except ValidationError as error:
        reported_paths = {item.path for item in mistakes}
        schema_mistakes = [_translate_finding(source, dict(item)) for item in error.errors()]
        mistakes += [item for item in schema_mistakes if item.path not in reported_paths]
    if mistakes:
        raise ConfigError(mistakes)
    source.warnings += tuple(find_unused_proxies(environ, source.config))
    return source


def _without_credentials(raw: dict[str, yaml.Value]) -> dict[str, yaml.Value]:
    """Return a configuration with true or false for each literal credential of an account."""
    providers = raw.get("providers")
    if not isinstance(providers, dict):
        return raw
    result: dict[str, yaml.Value] = {}
    for name, provider in providers.items():
        result[name] = provider
        accounts = provider.get("accounts") if isinstance(provider, dict) else None
        if isinstance(provider, dict) and isinstance(accounts, dict):
            shown_accounts: dict[str, yaml.Value] = {
                key: secret if isinstance(secret, str) and "${" in secret else bool(secret)
                for key, secret in accounts.items()
            }
            result[name] = {**provider, "accounts": shown_accounts}
    return {**raw, "providers": result}


def _expand_value(
    value: yaml.Value,
    path: Path,
    environ: Mapping[str, str],
    source: ConfigSource,
    mistakes: list[Mistake],
    snapshot: FileSnapshot,
) -> yaml.Value:
    if isinstance(value, dict):
        return {
            name: _expand_value(item, (*path, name), environ, source, mistakes, snapshot)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [
            _expand_value(item, (*path, index), environ, source, mistakes, snapshot)
            for index, item in enumerate(value)
        ]
    if isinstance(value, str) and "\0" in value:  # no file name, header or key has one
        mistakes.append(source.make_mistake(path, "holds a NUL character."))
        return ""
    if not isinstance(value, str) or "${" not in value:
        return value
    for file in env.list_files(value):
        snapshot.record_file(file)
    try:
        text = env.expand_variables(value, environ)
    except UnsetVariable as error:
        # An account without its secret turns its provider off; that is no mistake.
        if not (error.variable and path[:1] == ("providers",) and path[2:3] == ("accounts",)):
            hint = "Write ${NAME:-default} to give a default." if error.variable else ""
            mistakes.append(source.make_mistake(path, f"{error}.", hint))
        return ""
    source.expanded_strings[text] = value
    return text


_PYDANTIC_MESSAGES = {
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
"""pydantic's findings in words for a person who writes YAML."""


def _translate_finding(source: ConfigSource, finding: dict[str, object]) -> Mistake:
    path = finding["loc"] if isinstance(finding["loc"], tuple) else ()
    path = path[:-1] if path[-1:] == ("[key]",) else path
    kind, value = str(finding["type"]), finding["input"]
    context = finding.get("ctx")
    context = context if isinstance(context, dict) else {}
    if kind == "extra_forbidden":
        hint = rule_hints.suggest_place(source.raw, path)
        hint = hint or suggest_name(str(path[-1]), _list_allowed_keys(path))
        return source.make_mistake(path, "no such key.", hint)
    if kind == "missing":
        hint = (
            suggest_name(str(path[-2]), _list_sibling_names(source, path[:-1]))
            if len(path) > 1
            else ""
        )
        if path == ("cache", "near", "embed"):
            hint = EMBEDDING_MODEL_HINT
        return source.make_mistake(path[:-1], f"the key {path[-1]!r} is missing.", hint)
    if kind == "literal_error":
        choices = str(context["expected"]).replace(" or ", ", ").split(", ")
        hint = suggest_name(str(value), [word.strip("'") for word in choices])
        if value in choices:
            hint = "Write it without quotes."
        if str(LANGUAGES[0]) in [word.strip("'") for word in choices]:
            hint = rule_hints.suggest_language(str(value))
        return source.make_mistake(path, f"{value!r} is not allowed.", hint)
    if kind == "string_pattern_mismatch":
        parts = str(context["pattern"]).strip("^$()").split("|")
        choices = [word for word in parts if "*" not in word]  # a pattern with * is a file's name
        return source.make_mistake(
            path, f"{value!r} is not allowed.", suggest_name(str(value), choices)
        )
    message = str(finding["msg"]).removeprefix("Value error, ")
    hint = (
        "Write it as {min: 1, max: 30}." if context.get("class_name") == RangePart.__name__ else ""
    )
    if kind == "value_error" and len(path) > 1:
        hint = hint or suggest_name(str(path[-1]), _list_sibling_names(source, path))
    if kind == "string_type" and isinstance(value, int | float):
        hint = "Put it in quotes."
    return source.make_mistake(
        path, f"{_PYDANTIC_MESSAGES.get(kind, message).format(**context)}.", hint
    )


def _list_sibling_names(source: ConfigSource, path: Path) -> list[str]:
    """Return the sibling names of a name that came from a variable and may be misspelt."""
    _, line = source.locations.get(path, ("", 1))
    section = source.raw.get(str(path[0]))
    return (
        [] if line is not None or not isinstance(section, dict) else [*section.keys() - {path[-1]}]
    )


def _list_allowed_keys(path: Path) -> list[str]:
    """Return the keys allowed at the place of an unknown key."""
    model: object = Config
    for step in path[:-1]:
        model = find_inner_schema(model, step)
    fields = getattr(model, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def find_inner_schema(model: object, step: str | int) -> object:
    """Return the schema one step down: that of a field, or of the items of a list or mapping."""
    fields = getattr(model, "model_fields", {})
    field = next(
        (candidate for name, candidate in fields.items() if step in (name, candidate.alias)), None
    )
    pending = [field.annotation] if field is not None else []
    while pending:
        item = pending.pop()
        if hasattr(item, "model_fields"):
            return item
        pending += list(getattr(item, "__args__", ()))
    return model
