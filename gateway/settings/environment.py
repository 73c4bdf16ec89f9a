"""What the environment adds: `${NAME}` in a configuration's strings, TIERGATE_* over its keys.

Variables of the environment that look like settings and are none.

Where the configuration is, before anything of it is read.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path as File

import msgspec
from dotenv import dotenv_values
from pydantic import BaseModel

from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake, UnsetVariable, nearest
from gateway.settings.schema.root import Config


def find(asked: str | None, environ: Mapping[str, str]) -> File:
    """The file to read: asked for, TIERGATE_CONFIG, ./config/gateway.yaml, or the shipped one."""
    if asked or environ.get("TIERGATE_CONFIG"):
        return File(asked or environ["TIERGATE_CONFIG"])
    here = File("config/gateway.yaml")
    if here.exists():
        return here
    return shipped()


def shipped() -> File:
    """The configuration that comes with the program: in a checkout it lies beside the package."""
    package = File(__file__).parent.parent
    inside = package / "_config" / "gateway.yaml"
    return inside if inside.exists() else package.parent / "config" / "gateway.yaml"


KEY_FILE = "TIERGATE_KEY_FILE"
"""Gives the setting `keys`: TIERGATE_KEYS holds keys themselves."""
RESERVED = frozenset({"config", "data", "secret", "admin_key", "keys", "key_file"})
"""TIERGATE_ names that are no settings."""
FIXED = frozenset({"version", "include"})
"""Keys that only a file can give."""

_START = re.compile(r"\$\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read(folder: File, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, over what a `.env` in the folder says. Raises ConfigError."""
    try:
        said = dotenv_values(folder / ".env", encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=".env", message="is not UTF-8.")]) from None
    return {**{name: value for name, value in said.items() if value}, **environ}


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}` (nested too), `${file:/path}`. Raises UnsetVariable."""
    out = []
    at = 0
    while (match := _START.search(text, at)) is not None:
        out.append(text[at : match.start()])
        end = _close(text, match.end())
        out.append(_one(text[match.end() : end], environ))
        at = end + 1
    out.append(text[at:])
    return "".join(out)


def names(text: str) -> list[str]:
    """The variables that a string is made from, in order of preference."""
    return re.findall(r"\$\{([A-Za-z_][A-Za-z0-9_]*)", text)


def files(text: str) -> list[File]:
    """The files that a string is made from."""
    return [File(path) for path in re.findall(r"\$\{file:([^}\0]+)\}", text)]


def _close(text: str, at: int) -> int:
    depth = 1
    for index in range(at, len(text)):
        if text.startswith("${", index):
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    raise UnsetVariable(f"{text!r} lacks a closing brace")


def _one(inside: str, environ: Mapping[str, str]) -> str:
    if inside.startswith("file:"):
        try:
            return File(inside[5:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise UnsetVariable(f"the file {inside[5:]} cannot be read") from None
    name, default, rest = inside.partition(":-")
    if _NAME.fullmatch(name) is None:
        raise UnsetVariable(
            f"${{{inside}}} is neither ${{NAME}}, ${{NAME:-default}} nor ${{file:/path}}"
        )
    value = environ.get(name, "")
    if not value and not default:
        raise UnsetVariable(f"the environment variable {name} is not set", variable=True)
    return value or expand(rest, environ)


def overrides(
    environ: Mapping[str, str], known: frozenset[str]
) -> tuple[dict[tuple[str, ...], yaml.Value], list[Mistake]]:
    """Settings that TIERGATE_<PATH> gives, by path, the shorter first; and those that give none.

    A single word that is no setting is left to other programs; an empty variable is not set.
    """
    found: dict[tuple[str, ...], yaml.Value] = {}
    mistakes: list[Mistake] = []
    for name, text in environ.items():
        if not name.startswith("TIERGATE_") or not text:
            continue
        if name == KEY_FILE:
            found["keys",] = text
            continue
        path = tuple(name.removeprefix("TIERGATE_").lower().split("__"))
        try:
            if path[0] in known - RESERVED - FIXED:
                found[path] = yaml.read(text, name).value
            elif hint := _meant(name, path, sorted(known - RESERVED - FIXED)):
                mistakes.append(Mistake(file=name, message="no setting.", hint=hint))
        except ConfigError as error:
            mistakes += [msgspec.structs.replace(item, line=None) for item in error.mistakes]
    return dict(sorted(found.items(), key=lambda item: (len(item[0]), item[0]))), mistakes


def _meant(name: str, path: tuple[str, ...], known: list[str]) -> str:
    if path == ("include",):
        return "Write `include` in the file."
    if len(path) > 1:
        return nearest(path[0], known)
    for word in known:
        if path[0].startswith(f"{word}_"):
            right = f"TIERGATE_{word.upper()}__{name[len(f'TIERGATE_{word}_') :]}"
            return f"Two underscores stand between levels: {right}."
    return ""


_PREFIX = "TIERGATE_"
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_LIKE = 0.81
"""Below this a name is another program's: a container host names a service's own port."""


def strays(environ: Mapping[str, str]) -> Iterator[Mistake]:
    """A warning for each single word that is no setting and is close to the name of one."""
    known = _known()
    for name, text in environ.items():
        word = name.removeprefix(_PREFIX).lower()
        address = "://" in text  # TIERGATE_PORT=tcp://10.0.0.1:8484 is Kubernetes'
        if word == name.lower() or "__" in word or not text or address:
            continue
        if word in Config.model_fields or word in RESERVED | FIXED:
            continue
        close = difflib.get_close_matches(word, known, n=1, cutoff=_LIKE)
        if close:
            hint = f"Did you mean {known[close[0]]}?"
            yield Mistake(level="warning", file=name, message="changes nothing.", hint=hint)


def proxies(environ: Mapping[str, str], config: Config) -> Iterator[Mistake]:
    """A warning where the environment has a proxy, and no provider does."""
    if any(part.proxy for part in config.providers.values()):
        return
    for name in _PROXIES:
        if environ.get(name):
            hint = f'Give a provider `proxy: "${{{name}}}"`.'
            yield Mistake(level="warning", file=name, message="is not used.", hint=hint)
            return


def _known() -> dict[str, str]:
    """Names that people may have meant, by the word that each is known by."""
    found = {word: f"{_PREFIX}{word.upper()}" for word in sorted(RESERVED)}
    for name, field in Config.model_fields.items():
        if name in FIXED | RESERVED:
            continue
        found[name] = f"{_PREFIX}{name.upper()}"
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            for inner in part.model_fields:
                if difflib.get_close_matches(inner, RESERVED, n=1, cutoff=_LIKE):
                    continue  # TIERGATE_KEY is TIERGATE_KEYS, and not the key of metrics
                found.setdefault(inner, f"{_PREFIX}{name.upper()}__{inner.upper()}")
    return found
