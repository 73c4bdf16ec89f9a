"""The environment: `${NAME}` in strings of a configuration, TIERGATE_* for its keys.

A `.env` and the files of a secrets folder are variables too.

This module also warns of variables that look like settings and are none, and finds the
configuration file before anything is read.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as File

import msgspec
from pydantic import BaseModel

from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, UnsetVariable, suggest_name
from gateway.settings.schema.root import Config


def find_config_file(requested: str | None, environ: Mapping[str, str]) -> File:
    """Return the configuration file to read.

    The order is: the requested file, TIERGATE_CONFIG, ./config/gateway.yaml, the shipped file.
    """
    if requested or environ.get("TIERGATE_CONFIG"):
        return File(requested or environ["TIERGATE_CONFIG"])
    default_file = File("config/gateway.yaml")
    if default_file.exists():
        return default_file
    return find_shipped_config()


def find_shipped_config() -> File:
    """Return the shipped configuration; in a checkout it lies beside the package."""
    package = File(__file__).parent.parent
    packaged_file = package / "_config" / "gateway.yaml"
    return packaged_file if packaged_file.exists() else package.parent / "config" / "gateway.yaml"


KEY_FILE_VARIABLE = "TIERGATE_KEY_FILE"
"""Sets `keys`, since TIERGATE_KEYS holds the keys themselves."""
SECRETS_FOLDER_VARIABLE = "TIERGATE_SECRETS_FOLDER"
"""Names a folder in which each file is a variable: its name, and its content as the value."""
RESERVED_WORDS = frozenset(
    {"config", "data", "secret", "secrets_folder", "admin_key", "keys", "key_file"}
)
"""Words after TIERGATE_ that are no settings."""
FILE_ONLY_KEYS = frozenset({"version", "include"})
"""Keys that only a file can set."""

_PLACEHOLDER_START = re.compile(r"\$\{")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_environment(folder: File, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment; it wins over a secrets folder, and that over a `.env` in `folder`.

    Raises ConfigError.
    """
    return {**_read_dotenv(folder / ".env"), **_read_secrets(environ), **environ}


def list_secret_files(folder: File) -> list[File]:
    """Return the files of a secrets folder that are variables. Raises OSError.

    Kubernetes puts folders beside them whose names begin with a dot, and swaps these at a change.
    """
    return [
        file
        for file in folder.iterdir()
        if _VARIABLE_NAME.fullmatch(file.name) is not None and file.is_file()
    ]


def _read_dotenv(file: File) -> dict[str, str]:
    if not file.exists():
        return {}
    from dotenv import dotenv_values  # noqa: PLC0415 - most folders have no such file

    try:
        dotenv = dotenv_values(file, encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=".env", message="is not UTF-8.")]) from None
    return {name: value for name, value in dotenv.items() if value}


def _read_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the secrets folder; empty files count as unset."""
    folder = environ.get(SECRETS_FOLDER_VARIABLE, "")
    if not folder:
        return {}
    try:
        texts = {
            file.name: file.read_text(encoding="utf-8").strip()
            for file in list_secret_files(File(folder))
        }
    except OSError as error:
        message = f"{error.filename} cannot be read: {(error.strerror or '').lower()}."
        hint = "Mount the folder, and let the gateway's user read its files."
    except UnicodeDecodeError:
        message, hint = f"a file in {folder} is not UTF-8.", "Name a folder of secrets alone."
    else:
        return {name: text for name, text in texts.items() if text}
    raise ConfigError([Mistake(file=SECRETS_FOLDER_VARIABLE, message=message, hint=hint)])


def expand_variables(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}` and `${file:/path}` in a text. Raises UnsetVariable.

    A default may contain placeholders too.
    """
    pieces = []
    position = 0
    while (match := _PLACEHOLDER_START.search(text, position)) is not None:
        pieces.append(text[position : match.start()])
        end = _find_closing_brace(text, match.end())
        pieces.append(_expand_placeholder(text[match.end() : end], environ))
        position = end + 1
    pieces.append(text[position:])
    return "".join(pieces)


def list_variables(text: str) -> list[str]:
    """Return the variables in a string, in order of preference."""
    return re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)", text)


def list_files(text: str) -> list[File]:
    """Return the files in a string (`${file:/path}`)."""
    return [File(path) for path in re.findall(r"\$\{file:([^}\0]+)\}", text)]


def _find_closing_brace(text: str, start: int) -> int:
    depth = 1
    for index in range(start, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise UnsetVariable(f"{text!r} lacks a closing brace")


def _expand_placeholder(content: str, environ: Mapping[str, str]) -> str:
    if content.startswith("file:"):
        try:
            return File(content[5:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UnsetVariable(f"the file {content[5:]} cannot be read") from None
    name, separator, default_value = content.partition(":-")
    if _VARIABLE_NAME.fullmatch(name) is None:
        raise UnsetVariable(
            f"${{{content}}} is neither ${{NAME}}, ${{NAME:-default}} nor ${{file:/path}}"
        )
    value = environ.get(name, "")
    if not value and not separator:
        raise UnsetVariable(f"the environment variable {name} is not set", variable=True)
    return value or expand_variables(default_value, environ)


def read_overrides(
    environ: Mapping[str, str], setting_names: frozenset[str]
) -> tuple[dict[tuple[str, ...], yaml.Value], list[Mistake]]:
    """Return the settings of TIERGATE_<PATH> variables by path, and mistakes in such variables.

    Shorter paths come first. A single word that is no setting is left to other programs, unless it
    begins with a setting and an underscore (`cache_ttl`). An empty variable counts as unset.
    """
    values_by_path: dict[tuple[str, ...], yaml.Value] = {}
    mistakes: list[Mistake] = []
    for name, text in environ.items():
        if not name.startswith("TIERGATE_") or not text:
            continue
        if name == KEY_FILE_VARIABLE:
            values_by_path["keys",] = text
            continue
        path = tuple(name.removeprefix("TIERGATE_").lower().split("__"))
        try:
            if path[0] in setting_names - RESERVED_WORDS - FILE_ONLY_KEYS:
                values_by_path[path] = yaml.read(text, name).value
            elif hint := _suggest_setting(
                name, path, sorted(setting_names - RESERVED_WORDS - FILE_ONLY_KEYS)
            ):
                mistakes.append(Mistake(file=name, message="no setting.", hint=hint))
        except ConfigError as error:
            mistakes += [msgspec.structs.replace(item, line=None) for item in error.mistakes]
    return dict(sorted(values_by_path.items(), key=lambda item: (len(item[0]), item[0]))), mistakes


def _suggest_setting(name: str, path: tuple[str, ...], setting_names: list[str]) -> str:
    if path == ("include",):
        return "Write `include` in the file."
    if len(path) > 1:
        return suggest_name(path[0], setting_names)
    for setting in setting_names:
        if path[0].startswith(f"{setting}_"):
            corrected = f"TIERGATE_{setting.upper()}__{name[len(f'TIERGATE_{setting}_') :]}"
            return f"Two underscores stand between levels: {corrected}."
    return ""


_PREFIX = "TIERGATE_"
_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_MIN_SIMILARITY = 0.81
"""The similarity below which a name belongs to another program. A container host, for example,
names a service's own port."""


def find_stray_variables(environ: Mapping[str, str]) -> Iterator[Mistake]:
    """Yield a warning for each single word that is no setting but resembles one."""
    names_by_word = _list_likely_names()
    for name, text in environ.items():
        word = name.removeprefix(_PREFIX).lower()
        is_address = "://" in text  # Kubernetes sets TIERGATE_PORT=tcp://10.0.0.1:8484
        if word == name.lower() or "__" in word or not text or is_address:
            continue
        if word in Config.model_fields or word in RESERVED_WORDS | FILE_ONLY_KEYS:
            continue
        matches = difflib.get_close_matches(word, names_by_word, n=1, cutoff=_MIN_SIMILARITY)
        if matches:
            hint = f"Did you mean {names_by_word[matches[0]]}?"
            yield Mistake(level="warning", file=name, message="changes nothing.", hint=hint)


def find_unused_proxies(environ: Mapping[str, str], config: Config) -> Iterator[Mistake]:
    """Yield a warning if the environment has a proxy and no provider uses one."""
    if any(provider_part.proxy for provider_part in config.providers.values()):
        return
    for name in _PROXY_VARIABLES:
        if environ.get(name):
            hint = f'Give a provider `proxy: "${{{name}}}"`.'
            yield Mistake(level="warning", file=name, message="is not used.", hint=hint)
            return


def _list_likely_names() -> dict[str, str]:
    """Return the variables that people may have meant, by the word that resembles each."""
    names_by_word = {word: f"{_PREFIX}{word.upper()}" for word in sorted(RESERVED_WORDS)}
    for name, field in Config.model_fields.items():
        if name in FILE_ONLY_KEYS | RESERVED_WORDS:
            continue
        names_by_word[name] = f"{_PREFIX}{name.upper()}"
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            for inner_name in section.model_fields:
                if difflib.get_close_matches(
                    inner_name, RESERVED_WORDS, n=1, cutoff=_MIN_SIMILARITY
                ):
                    continue  # TIERGATE_KEY means TIERGATE_KEYS, not metrics.key
                names_by_word.setdefault(
                    inner_name, f"{_PREFIX}{name.upper()}__{inner_name.upper()}"
                )
    return names_by_word
