"""The one door to DuckDB: it reads Parquet, where the extra `labels` is installed."""

from pathlib import Path


class NoReader(Exception):
    """Parquet cannot be read here."""


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
