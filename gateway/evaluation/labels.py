"""Labels: prompts with scores of the tiers' answers (outcomes), or with a tier that people gave.

A file is JSONL, CSV or Parquet with these columns:

    prompt                                  the text; required
    fast, smart, reasoning                  the score of the tier's answer
    tier                                    the tier that somebody gave the prompt
    fast_cost, smart_cost, reasoning_cost   USD of the tier's answer
    weight                                  how many prompts the row stands for
    source (or src), key, tags, model       see `Label`

A row needs one of the scores, or `tier`. The reader ignores other columns. A YAML file of golden
prompts can be read as labels too. A row of a sample may have `draw: {probability: 0.1}` in place of
`weight`: it stands for ten prompts.

Only this module imports DuckDB. It reads Parquet if the extra `labels` is installed.
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


def read_parquet_rows(file: Path) -> list[dict[str, object]]:
    """Return the rows of a Parquet file.

    Raises NoReader if DuckDB is not installed, ValueError if it cannot read the file.
    """
    try:
        import duckdb  # noqa: PLC0415 - an extra
    except ImportError:
        raise NoReader from None
    try:
        with duckdb.connect() as connection:
            relation = connection.read_parquet(str(file))
            return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    except duckdb.Error as error:
        raise ValueError(str(error).partition("\n")[0]) from None


_TEXT_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".yaml", ".yml")
_MAX_MISTAKES = 20
"""The number of mistakes of one file after which the reader stops."""


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt with its scores, or with the tier that somebody gave it."""

    prompt: str
    scores: Mapping[Tier, float] = {}
    """The score of each tier whose answer was judged, on any scale; higher is better."""
    costs: Mapping[Tier, Decimal] = {}
    """The measured cost of a tier's answer, in USD."""
    tier: Tier | None = None
    """An opinion: the tier that somebody gave the prompt."""
    source: str = ""
    """The name of the set that it comes from. The gateway judges each source apart."""
    key: str | None = None
    """The name of the client's key."""
    tags: tuple[str, ...] = ()
    model: str = "auto"
    """The model that the request asks for."""
    weight: float = 1.0
    """The number of prompts that it stands for: 1 / the probability that it was drawn."""

    @property
    def has_outcome(self) -> bool:
        """True if answers were judged. Otherwise the label is an opinion."""
        return bool(self.scores)


def read_labels(file: Path) -> list[Label]:
    """Read a file of labels; its suffix tells the format. Raises ConfigError with the mistakes."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return _convert_rows(file, enumerate(_read_parquet(file), 1))
    if suffix not in _TEXT_SUFFIXES:
        message = "is of no kind that labels are read from."
        hint = "Name it .jsonl, .csv, .parquet or, with golden prompts, .yaml."
        raise _make_error(file, message, hint)
    text = _read_file(file)
    if suffix in (".yaml", ".yml"):
        golden_prompts = [
            golden_prompt
            for golden_prompt in golden.read_prompts(yaml.read(text, str(file)))
            if not golden_prompt.turns
        ]
        if not golden_prompts:
            raise _make_error(file, "has conversations alone; labels are single prompts.")
        return [_convert_golden(golden_prompt) for golden_prompt in golden_prompts]
    if suffix == ".csv":
        table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        return _convert_rows(file, _iterate_csv(file, table))
    return _convert_rows(file, _iterate_jsonl(file, text))


def _convert_golden(golden_prompt: golden.GoldenPrompt) -> Label:
    return Label(
        prompt=golden_prompt.prompt,
        tier=golden_prompt.tier,
        model=golden_prompt.model,
        key=golden_prompt.key,
        tags=golden_prompt.tags,
    )


def _read_file(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise _make_error(file, f"cannot be read: {(error.strerror or '').lower()}.") from None
    except UnicodeDecodeError:
        raise _make_error(file, "is not UTF-8.") from None


def _read_parquet(file: Path) -> list[dict[str, object]]:
    if not file.is_file():
        raise _make_error(file, "cannot be read: no such file.")
    try:
        return read_parquet_rows(file)
    except NoReader:
        hint = "Install it with `pip install 'tiergate[labels]'`, or write JSONL or CSV."
        raise _make_error(file, "needs DuckDB to be read.", hint) from None
    except ValueError as error:
        raise _make_error(file, f"is not Parquet: {error}.") from None


def _iterate_csv(
    file: Path, table: "csv.DictReader[str]"
) -> Iterator[tuple[int, dict[str, object]]]:
    try:
        for row in table:
            yield table.line_num, {name: cell or None for name, cell in row.items()}
    except csv.Error as error:
        raise _make_error(file, f"is not CSV: {error}.", line=table.line_num + 1) from None


def _iterate_jsonl(file: Path, text: str) -> Iterator[tuple[int, object]]:
    for line_number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield line_number, jsonio.loads(line.encode())
            except jsonio.JsonError as error:
                raise _make_error(file, f"is not JSON: {error}.", line=line_number) from None


def _make_error(file: Path, message: str, hint: str = "", line: int | None = None) -> ConfigError:
    return ConfigError([Mistake(file=str(file), line=line, message=message, hint=hint)])


def _convert_rows(file: Path, rows: Iterable[tuple[int, object]]) -> list[Label]:
    labels: list[Label] = []
    mistakes: list[Mistake] = []
    for line, row in rows:
        try:
            labels.append(convert_row(row))
        except ValueError as error:
            mistakes.append(Mistake(file=str(file), line=line, message=f"{error}."))
            if len(mistakes) == _MAX_MISTAKES:
                break
    if mistakes:
        raise ConfigError(mistakes)
    if not labels:
        raise _make_error(file, "has no labels.")
    return labels


def convert_row(row: object) -> Label:
    """Return a row as a label. Raises ValueError if the row is no label."""
    if not isinstance(row, dict):
        raise ValueError("a label is an object")  # noqa: TRY004 - what is wrong is a value
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise ValueError("prompt: a text is missing")
    scores = {tier: _read_number(row, tier) for tier in TIERS if _has_value(row.get(tier))}
    costs = {
        tier: _read_usd(row, f"{tier}_cost")
        for tier in TIERS
        if _has_value(row.get(f"{tier}_cost"))
    }
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
        source=_read_word(row, "source") or _read_word(row, "src") or "",
        key=_read_word(row, "key"),
        tags=_read_tags(row.get("tags")),
        model=_read_word(row, "model") or "auto",
        weight=_read_weight(row),
    )


def _read_weight(row: Mapping[str, object]) -> float:
    """Return how many prompts a row stands for: 1 unless it has a weight or was drawn."""
    if _has_value(row.get("weight")):
        weight = _read_number(row, "weight")
        if weight <= 0:
            raise ValueError(f"weight: {row['weight']!r} is not above 0")
        return weight
    draw = row.get("draw")
    if not isinstance(draw, dict) or not _has_value(draw.get("probability")):
        return 1.0
    probability = _read_number(draw, "probability")
    if not 0 < probability <= 1:
        raise ValueError(f"draw: {draw['probability']!r} is no probability")
    return 1 / probability


def _has_value(value: object) -> bool:
    """Return True if a cell holds a value. None and NaN, as a DataFrame writes it, are unknown."""
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _read_number(row: Mapping[str, object], name: str) -> float:
    value = row[name]
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: {value!r} is no number")
    return number


def _read_usd(row: Mapping[str, object], name: str) -> Decimal:
    value = row[name]
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{name}: {value!r} is no amount")
    return amount


def _read_word(row: Mapping[str, object], name: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: {value!r} is no text")
    return value or None


def _read_tags(value: object) -> tuple[str, ...]:
    """Return the tags of a list, or of a text with commas, as a CSV cell has them."""
    if value is None:
        return ()
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"tags: {value!r} are no words")
    return tuple(word.strip() for word in words if word.strip())
