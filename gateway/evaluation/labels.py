"""Labels: prompts with what each tier's answer was worth (outcomes), or a tier given by hand.

A file is JSONL, CSV or Parquet with these columns, of which only `prompt` and one of the scores or
`tier` must be there; others are passed over.

The one door to DuckDB: it reads Parquet, where the extra `labels` is installed.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec

from gateway.core import jsonio
from gateway.core.target import TIERS, Tier
from gateway.evaluation import golden
from gateway.evaluation.errors import NoReader
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake


def rows(file: Path) -> list[dict[str, object]]:
    """The rows of a file. Raises NoReader where DuckDB is missing, ValueError where it cannot."""
    try:
        import duckdb  # noqa: PLC0415 - an extra
    except ImportError:
        raise NoReader from None
    try:
        with duckdb.connect() as base:
            found = base.read_parquet(str(file))
            return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise ValueError(str(error).partition("\n")[0]) from None


_KINDS = (".jsonl", ".ndjson", ".csv", ".yaml", ".yml")
_MOST = 20
"""Mistakes of one file that are told."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt, and what is known of it."""

    prompt: str
    scores: Mapping[Tier, float] = {}
    """Of each tier whose answer was judged: any scale, higher is better."""
    costs: Mapping[Tier, Decimal] = {}
    """USD of each tier's answer, where it was measured."""
    tier: Tier | None = None
    """An opinion: the tier that somebody gave it."""
    source: str = ""
    """The set that it is of: sources are judged apart."""
    key: str | None = None
    tags: tuple[str, ...] = ()
    model: str = "auto"
    """What is asked for."""

    @property
    def outcome(self) -> bool:
        """Whether answers were judged; else it is an opinion."""
        return bool(self.scores)


def read(file: Path) -> list[Label]:
    """Read labels; the kind of file is told by its name. Raises ConfigError with its mistakes."""
    kind = file.suffix.lower()
    if kind == ".parquet":
        return _labels(file, enumerate(_parquet(file), 1))
    if kind not in _KINDS:
        message = "is of no kind that labels are read from."
        hint = "Name it .jsonl, .csv, .parquet or, with golden prompts, .yaml."
        raise _wrong(file, message, hint)
    text = _text(file)
    if kind in (".yaml", ".yml"):
        prompts = [one for one in golden.read(yaml.read(text, str(file))) if not one.turns]
        if not prompts:
            raise _wrong(file, "has conversations alone; labels are single prompts.")
        return [_golden(one) for one in prompts]
    if kind == ".csv":
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return _labels(file, _csv(file, table))
    return _labels(file, _jsonl(file, text))


def _golden(one: golden.GoldenPrompt) -> Label:
    return Label(prompt=one.prompt, tier=one.tier, model=one.model, key=one.key, tags=one.tags)


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise _wrong(file, f"cannot be read: {(error.strerror or '').lower()}.") from None
    except UnicodeDecodeError:
        raise _wrong(file, "is not UTF-8.") from None


def _parquet(file: Path) -> list[dict[str, object]]:
    if not file.is_file():
        raise _wrong(file, "cannot be read: no such file.")
    try:
        return rows(file)
    except NoReader:
        hint = "Install it with `pip install 'tiergate[labels]'`, or write JSONL or CSV."
        raise _wrong(file, "needs DuckDB to be read.", hint) from None
    except ValueError as error:
        raise _wrong(file, f"is not Parquet: {error}.") from None


def _csv(file: Path, table: "csv.DictReader[str]") -> Iterator[tuple[int, dict[str, object]]]:
    try:
        for row in table:
            yield table.line_num, {name: cell or None for name, cell in row.items()}
    except csv.Error as error:
        raise _wrong(file, f"is not CSV: {error}.", line=table.line_num + 1) from None


def _jsonl(file: Path, text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, jsonio.loads(line.encode())
            except jsonio.JsonError as error:
                raise _wrong(file, f"is not JSON: {error}.", line=number) from None


def _wrong(file: Path, message: str, hint: str = "", line: int | None = None) -> ConfigError:
    return ConfigError([Mistake(file=str(file), line=line, message=message, hint=hint)])


def _labels(file: Path, rows: Iterable[tuple[int, object]]) -> list[Label]:
    found: list[Label] = []
    mistakes: list[Mistake] = []
    for line, row in rows:
        try:
            found.append(label(row))
        except ValueError as error:
            mistakes.append(Mistake(file=str(file), line=line, message=f"{error}."))
            if len(mistakes) == _MOST:
                break
    if mistakes:
        raise ConfigError(mistakes)
    if not found:
        raise _wrong(file, "has no labels.")
    return found


def label(row: object) -> Label:
    """One row. Raises ValueError where it is none."""
    if not isinstance(row, dict):
        raise ValueError("a label is an object")  # noqa: TRY004 - what is wrong is a value
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise ValueError("prompt: a text is missing")
    scores = {tier: _number(row, tier) for tier in TIERS if _there(row.get(tier))}
    costs = {tier: _usd(row, f"{tier}_cost") for tier in TIERS if _there(row.get(f"{tier}_cost"))}
    tier = row.get("tier")
    if tier is not None and tier not in TIERS:
        raise ValueError(f"tier: {tier!r} is none of {', '.join(TIERS)}")
    if tier is None and not scores:
        raise ValueError("no score of fast, smart or reasoning, and no tier")
    return Label(
        prompt=prompt,
        scores=scores,
        costs=costs,
        tier=tier,
        source=_word(row, "source") or _word(row, "src") or "",
        key=_word(row, "key"),
        tags=_tags(row.get("tags")),
        model=_word(row, "model") or "auto",
    )


def _there(value: object) -> bool:
    """Whether a cell has something in it: what is unknown is null, empty or no number."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _number(row: Mapping[str, object], name: str) -> float:
    value = row[name]
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{name}: {value!r} is no number")
    return found


def _usd(row: Mapping[str, object], name: str) -> Decimal:
    value = row[name]
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or found < 0:
        raise ValueError(f"{name}: {value!r} is no amount")
    return found


def _word(row: Mapping[str, object], name: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: {value!r} is no text")
    return value or None


def _tags(value: object) -> tuple[str, ...]:
    """A list, or in a cell of CSV words apart by commas."""
    if value is None:
        return ()
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"tags: {value!r} are no words")
    return tuple(word.strip() for word in words if word.strip())
