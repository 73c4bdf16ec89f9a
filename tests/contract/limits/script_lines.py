"""Check that tests run every statement of the Redis scripts: a pytest plugin for `make lines`.

Each statement counts itself in the server before it runs; at the end none may be missing.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from gateway.state.redis import scripts

_STATEMENT = re.compile(
    r"\s*(local (?!function)|if |for |while |return|break|redis\.call|kept\(\)|"
    r"[a-z_]+(\[[^=]*\])?(, [a-z_\[\]#+ 1-9]+)* = )"
)
_LEAST = 10
"""Statements in the shortest script: fewer mean that the pattern matches nothing."""
_lines: dict[str, dict[int, str]] = {}


class Counting(scripts.Script):
    """A script whose statements count themselves."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        counted_lines: list[str] = []
        for number, line in enumerate(self.source.decode().split("\n"), 1):
            count = ""
            if _STATEMENT.match(line):
                _lines.setdefault(name, {})[number] = line.strip()
                count = f"redis.call('HINCRBY', 'lines:{name}', '{number}', 1) "
            counted_lines.append(count + line)
        self.source = "\n".join(counted_lines).encode()
        self.sha = hashlib.sha1(self.source).hexdigest().encode()  # noqa: S324 - the protocol's name


scripts.Script = Counting  # type: ignore[misc]  # before any script is made


@pytest.fixture(autouse=True, scope="session")
def counted(redis_url: str) -> Iterator[None]:
    """Report at the end which statements have not run."""
    yield
    folder = Path(scripts.__file__).parent
    assert _lines.keys() == {path.stem for path in folder.glob("*.lua")}
    with redis.Redis.from_url(redis_url) as server:
        for name, lines in sorted(_lines.items()):
            ran = {int(number) for number in server.hkeys(f"lines:{name}")}
            print(f"\n{name}.lua: {len(ran)} of {len(lines)} statements ran", end="")
            assert len(lines) > _LEAST
            assert lines.keys() - ran == set(), {at: lines[at] for at in lines.keys() - ran}
    print()
