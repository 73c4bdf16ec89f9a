"""Reading a configuration: files, includes, environment, schema; every mistake with its line."""

import hashlib
from collections.abc import Mapping
from pathlib import Path as File

import msgspec
from pydantic import ValidationError

from gateway.core import jsonio
from gateway.settings import environ as env
from gateway.settings import yaml
from gateway.settings.mistake import ConfigError, Mistake, Path, nearest, written
from gateway.settings.schema import Config

type Where = dict[Path, tuple[str, int]]

_MERGED = ("providers", "labs", "models", "aliases")
_JOINED = ("guards", "choices")


class Source(msgspec.Struct):
    """A configuration as written: one value out of all its files, and where each part stands."""

    file: File
    raw: dict[str, yaml.Value]
    """Before anything of the environment is put in: no secret is in it."""
    where: Where
    config: Config
    version: str
    mistakes: list[Mistake] = []
    """Warnings found so far."""

    def mistake(self, path: Path, message: str, hint: str = "", *, warn: bool = False) -> Mistake:
        """A finding at a path, with the file and line of its nearest part that is written."""
        file, line = self.file.name, None
        for end in range(len(path), -1, -1):
            if path[:end] in self.where:
                file, line = self.where[path[:end]]
                break
        return Mistake(
            level="warning" if warn else "error",
            file=file,
            line=line,
            path=written(path),
            message=message,
            hint=hint,
        )


def find(asked: str | None, environ: Mapping[str, str]) -> File:
    """The file to read: asked for, TIERGATE_CONFIG, ./config/gateway.yaml, or the shipped one."""
    if asked or environ.get("TIERGATE_CONFIG"):
        return File(asked or environ["TIERGATE_CONFIG"])
    here = File("config/gateway.yaml")
    if here.exists():
        return here
    package = File(__file__).parent.parent
    shipped = package / "_config" / "gateway.yaml"
    return shipped if shipped.exists() else package.parent / "config" / "gateway.yaml"


def load(file: File, environ: Mapping[str, str]) -> Source:
    """Read and validate a configuration. Raises ConfigError with everything that is wrong."""
    raw: dict[str, yaml.Value] = {}
    where: Where = {}
    _add(file, raw, where, root=True)
    known = frozenset(Config.model_fields)
    for path, value in env.overrides(environ, known).items():
        _put(raw, path, value)
        where[path] = (f"TIERGATE_{'__'.join(path).upper()}", 1)
    version = hashlib.blake2b(jsonio.dumps(raw), digest_size=6).hexdigest()
    mistakes: list[Mistake] = []
    source = Source(file, raw, where, Config(version=1), version, mistakes)
    value = _expand(raw, (), environ, source)
    try:
        source.config = Config.model_validate(value)
    except ValidationError as error:
        mistakes += [_translate(source, dict(item)) for item in error.errors()]
    if mistakes:
        raise ConfigError(mistakes)
    return source


def _add(file: File, raw: dict[str, yaml.Value], where: Where, *, root: bool) -> None:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise ConfigError([Mistake(file=str(file), message=f"cannot be read: {reason}")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(file), message="not valid UTF-8")]) from None
    document = yaml.read(text, _shown(file))
    value = document.value
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError([Mistake(file=_shown(file), line=1, message="must be a mapping")])
    if root:
        include = value.get("include")
        for pattern in include if isinstance(include, list) else ():
            _include(file, str(pattern), raw, where)
    _merge(raw, value, document, where)


def _shown(file: File) -> str:
    try:
        return str(file.resolve().relative_to(File.cwd()))
    except ValueError:
        return str(file)


def _include(file: File, pattern: str, raw: dict[str, yaml.Value], where: Where) -> None:
    found = sorted(file.parent.glob(pattern)) if not File(pattern).is_absolute() else []
    if not found:
        message = f"include: no file matches {pattern!r}"
        raise ConfigError([Mistake(file=_shown(file), message=message)])
    for item in found:
        if item.resolve() != file.resolve():
            _add(item, raw, where, root=False)


def _merge(
    raw: dict[str, yaml.Value],
    value: dict[str, yaml.Value],
    document: yaml.Document,
    where: Where,
) -> None:
    file, lines = document.file, document.lines
    moved: dict[str, int] = {}
    for name, part in value.items():
        held = raw.get(name)
        if name in _MERGED and isinstance(held, dict) and isinstance(part, dict):
            for key in part:
                if key in held and name in ("providers", "labs"):
                    first = where[name, key]
                    message = f"is also given at {first[0]}:{first[1]}"
                    at = written((name, key))
                    line = lines[name, key]
                    raise ConfigError([Mistake(file=file, line=line, path=at, message=message)])
            raw[name] = _deep(held, part)
        elif name in _JOINED and isinstance(held, list) and isinstance(part, list):
            moved[name] = len(held)
            raw[name] = [*held, *part]
        else:
            raw[name] = part
    for path, line in lines.items():
        place = path
        if len(path) > 1 and path[0] in moved and isinstance(path[1], int):
            place = (path[0], path[1] + moved[str(path[0])], *path[2:])
        where[place] = (file, line)


def _deep(held: dict[str, yaml.Value], part: dict[str, yaml.Value]) -> dict[str, yaml.Value]:
    out = dict(held)
    for name, value in part.items():
        old = out.get(name)
        out[name] = (
            _deep(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return out


def _put(raw: dict[str, yaml.Value], path: tuple[str, ...], value: yaml.Value) -> None:
    at = raw
    for name in path[:-1]:
        inside = at.get(name)
        at[name] = inside = dict(inside) if isinstance(inside, dict) else {}
        at = inside
    at[path[-1]] = value


def _expand(
    value: yaml.Value, path: Path, environ: Mapping[str, str], source: Source
) -> yaml.Value:
    if isinstance(value, dict):
        return {name: _expand(v, (*path, name), environ, source) for name, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, (*path, at), environ, source) for at, v in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    try:
        return env.expand(value, environ)
    except env.Unset as error:
        if "accounts" not in path or "not set" not in str(error):
            hint = "Write ${NAME:-default} to give a default." if "not set" in str(error) else ""
            source.mistakes.append(source.mistake(path, f"{error}.", hint))
        return ""


def _translate(source: Source, item: dict[str, object]) -> Mistake:
    """One finding of pydantic in the words of a person who wrote YAML."""
    path = tuple(part for part in _path(item["loc"]) if part != "function-before")
    kind, message = str(item["type"]), str(item["msg"])
    if kind == "extra_forbidden":
        name = str(path[-1])
        return source.mistake(path, "no such key.", nearest(name, _siblings(path)))
    if kind == "missing":
        return source.mistake(path[:-1], f"the key {path[-1]!r} is missing.")
    if kind == "literal_error":
        context = item.get("ctx")
        expected = str(context["expected"]) if isinstance(context, dict) else ""
        words = [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]
        return source.mistake(
            path, f"{item['input']!r} is not allowed.", nearest(str(item["input"]), words)
        )
    return source.mistake(path, message[:1].lower() + message[1:] + ".")


def _path(loc: object) -> Path:
    return loc if isinstance(loc, tuple) else ()


def _siblings(path: Path) -> list[str]:
    """The keys that may stand where an unknown one does."""
    model: object = Config
    for part in path[:-1]:
        model = _inside(model, part)
    fields = getattr(model, "model_fields", {})
    return [field.alias or name for name, field in fields.items()]


def _inside(model: object, part: str | int) -> object:
    """The schema one step down: a field's, or that of a list's or mapping's items."""
    fields = getattr(model, "model_fields", None)
    if fields is None or isinstance(part, int):
        return model
    field = next((f for name, f in fields.items() if part in (name, f.alias)), None)
    if field is None:
        return model
    todo = [field.annotation]
    while todo:
        item = todo.pop()
        if hasattr(item, "model_fields"):
            return item
        todo += list(getattr(item, "__args__", ()))
    return None
