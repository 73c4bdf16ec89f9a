"""Client keys: where the gateway reads them, and which secret finds which key."""

import asyncio
import hashlib
import os
import sys
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gateway.core.call import OPEN_KEY, BudgetRise, Key, KeyBudget, KeyLimit
from gateway.core.errors import ProblemError
from gateway.limits.keys import KeyTable, load, parse_time
from gateway.server.request_headers import RequestHeaders, identify
from gateway.settings.errors import ConfigError

NO_FOLDER = Path("/nowhere")


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def test_open_keys_let_every_client_in() -> None:
    keys = load("open", NO_FOLDER, "")
    assert keys.is_open
    assert len(keys) == 0
    for secret in (None, "", "anything"):
        assert keys.find(secret) is OPEN_KEY


def test_keys_in_the_environment_close_an_open_gateway() -> None:
    """`keys: open` with a key in the environment is not open any more."""
    keys = load("open", NO_FOLDER, f" one={digest('s1')} , two={digest('s2').upper()},")
    assert not keys.is_open
    assert len(keys) == 2
    assert (keys.find("s1"), keys.find("s2")) == (Key(name="one"), Key(name="two"))


@pytest.mark.parametrize(
    "secret", [None, "", "s", "s11", "s1 ", "S1", digest("s1"), "\udc80", "ä" * 9999]
)
def test_the_gateway_refuses_an_unknown_key(secret: str | None) -> None:
    keys = load("open", NO_FOLDER, f"one={digest('s1')}")
    with pytest.raises(ProblemError) as caught:
        keys.find(secret)
    problem = caught.value.problem
    assert (problem.kind, problem.http_status, problem.should_retry) == ("invalid_api_key", 401, False)  # fmt: skip
    assert digest("s1") not in problem.message
    assert ("is required" in problem.message) == (not secret)


def test_a_secret_may_have_characters_outside_ascii(tmp_path: Path) -> None:
    """A header carries the secret as bytes, which are read as Latin-1."""
    keys = load("open", tmp_path, f"one={digest('caf\xe9')}")
    (secret,) = RequestHeaders([(b"x-api-key", b"caf\xe9")]).secrets
    assert keys.find(secret).name == "one"


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text(
        f"app: {{sha256: {digest('s1')}, tenant: t, lab: acme, tags: shop, allowed_tags: [a, b],"
        f" labs: acme, tiers: [fast], complete: true}}\n"
        f"plain: {{sha256: {digest('s2')}}}\n"
        f"nothing: {{sha256: {digest('s3')}, allowed_tags: [], denied_tokens: sub=ann}}\n"
    )
    keys = load("keys.yaml", tmp_path, f"more={digest('s4')}")
    assert keys.find("s1") == Key(
        name="app", tenant="t", lab="acme", tags=("shop",), allowed_tags=("a", "b"),
        labs=("acme",), tiers=("fast",), complete="hold",
    )  # fmt: skip
    assert keys.find("s2") == Key(name="plain")
    assert keys.find("s3") == Key(name="nothing", allowed_tags=(), denied_tokens=("sub=ann",))
    assert keys.find("s4") == Key(name="more")
    assert not keys.is_open


def test_an_empty_key_file_lets_no_client_in(tmp_path: Path) -> None:
    """A key file that exists but is empty is not `open`."""
    (tmp_path / "keys.yaml").write_text("")
    keys = load("keys.yaml", tmp_path, "")
    assert not keys.is_open
    with pytest.raises(ProblemError):
        keys.find("anything")


GOOD = digest("s")
MISTAKES: list[tuple[str, str]] = [
    ("- a\n", "must map names to keys"),
    ("app: {}\n", "keys.yaml:1: error: app.sha256: field required"),
    (f"\napp: {{sha256: {GOOD}, tier: [fast]}}\n", "keys.yaml:2: error: app.tier:"),
    ("app: {sha256: abc}\n", "app: a key is a name and the SHA-256 of its secret"),
    (f"app: {{sha256: {GOOD[:-1]}g}}\n", "64 hex digits"),
    (f"one: {{sha256: {GOOD}}}\ntwo: {{sha256: {GOOD.upper()}}}\n", "two: has the same secret as 'one'"),
    (f"one: {{sha256: {GOOD}}}\none: {{sha256: {digest('t')}}}\n", "given twice"),
    ("one: text\n", "keys.yaml:1: error: one:"),
    ("one: [\n", "not valid YAML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), MISTAKES)
def test_a_mistake_in_the_key_file_is_reported(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "keys.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load("keys.yaml", tmp_path, "")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "extra", ["one", "one=", f"={GOOD}", f"one={GOOD}x", f"one={GOOD},two={GOOD}"]
)
def test_a_mistake_in_the_environment_is_reported(extra: str) -> None:
    with pytest.raises(ConfigError, match="TIERGATE_KEYS"):
        load("open", NO_FOLDER, extra)


def test_a_missing_key_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: no such file"):
        load("keys.yaml", tmp_path, "")


HEADERS: list[tuple[list[tuple[bytes, bytes]], *tuple[str, ...]]] = [
    ([],),
    ([(b"authorization", b"Bearer s1")], "s1"),
    ([(b"authorization", b"bearer   s1")], "s1"),
    ([(b"authorization", b"BEARER s1 ")], "s1"),
    ([(b"authorization", b"s1")], "s1"),
    ([(b"authorization", b"Bearer")], ""),
    ([(b"authorization", b"Basic czE6")], "Basic czE6"),
    ([(b"x-api-key", b"s1")], "s1"),
    ([(b"api-key", b" s1 ")], "s1"),
    ([(b"x-goog-api-key", b"s1")], "s1"),
    ([(b"x-goog-api-key", b"s2"), (b"x-api-key", b"s1")], "s2", "s1"),
    ([(b"x-api-key", b"s2"), (b"authorization", b"Bearer s1")], "s2", "s1"),
    ([(b"x-api-key", b"s1"), (b"authorization", b"Bearer s1")], "s1"),
]


@pytest.mark.parametrize("case", HEADERS)
def test_the_gateway_reads_secrets_from_each_header(
    case: tuple[list[tuple[bytes, bytes]], *tuple[str, ...]],
) -> None:
    """All different secrets are returned: the gateway must not guess which one counts."""
    headers, *secrets = case
    assert list(RequestHeaders(headers).secrets) == secrets


def test_the_key_table_keeps_no_secret() -> None:
    keys = load("open", NO_FOLDER, f"one={digest('my secret')}")
    keys.find("my secret")
    assert isinstance(keys, KeyTable)
    assert "my secret" not in repr(vars(keys))


def write(folder: Path, text: str) -> Path:
    """Write the file as an editor that saves by renaming: a new file replaces the old one."""
    file = folder / "keys.yaml"
    fresh = folder / "fresh"
    fresh.write_text(text)
    fresh.replace(file)
    return file


def opens(keys: KeyTable, *secrets: str) -> list[str]:
    names = []
    for secret in secrets:
        with suppress(ProblemError):
            names.append(keys.find(secret).name)
    return names


SCOPED = f"""\
all:
  sha256: {digest("s1")}
  models: [claude-*, openai/*]
  regions: eu
  admin: true
  limits: {{requests: 60/m, tokens: 200k/m, concurrency: 8}}
  budgets: {{usd: 5.50, every: month, tier: reasoning, soft: 0.8, then: smart}}
more:
  sha256: {digest("s2")}
  limits: [{{requests: 1/s}}, {{requests: 1000/d}}]
  budgets: [{{usd: 0, every: total}}, {{usd: 1, every: hour, hard: false, reserve: expected}}, {{usd: 2, every: week, reserve: fit, least_output: 99, time_zone: Asia/Tokyo, rise: {{usd: 3, until: 2027-01-31}}}}]
"""


def test_scopes_limits_and_budgets_are_plain_values(tmp_path: Path) -> None:
    write(tmp_path, SCOPED)
    keys = load("keys.yaml", tmp_path, "")
    assert keys.find("s1") == Key(
        name="all", models=("claude-*", "openai/*"), regions=("eu",), admin=True,
        limits=(KeyLimit(requests=(60, 60.0), tokens=(200_000, 60.0), concurrency=8),),
        budgets=(
            KeyBudget(usd=Decimal("5.50"), every="month", tier=("reasoning",), soft=Decimal("0.8"), then="smart"),
        ),
    )  # fmt: skip
    more = keys.find("s2")
    assert more.limits == (KeyLimit(requests=(1, 1.0)), KeyLimit(requests=(1000, 86400.0)))
    assert more.budgets == (
        KeyBudget(usd=Decimal(0), every="total"),
        KeyBudget(usd=Decimal(1), every="hour", hard=False, reserve="expected"),
        KeyBudget(
            usd=Decimal(2),
            every="week",
            reserve="fit",
            least_output=99,
            time_zone="Asia/Tokyo",
            rise=BudgetRise(usd=Decimal(3), until="2027-01-31"),
        ),
    )
    assert keys.has_admin
    write(tmp_path, f"plain: {{sha256: {digest('s1')}}}\n")
    assert not load("keys.yaml", tmp_path, "").has_admin


def test_a_key_sets_its_quality_and_a_maximum_of_it(tmp_path: Path) -> None:
    write(tmp_path, f"k: {{sha256: {digest('s')}, quality: {{keep: 0.9}}, max_quality: 10}}\n")
    key = load("keys.yaml", tmp_path, "").find("s")
    assert (key.quality, key.max_quality) == (0.9, 1.0)


WRONG: list[tuple[str, str]] = [
    ("quality: 11", "keys.yaml:3: error: k.quality: a number from 0 (always fast) to 10"),
    ("tiers: [fast, slow]", "keys.yaml:3: error: k.tiers.1: input should be"),
    ("admin: maybe", "keys.yaml:3: error: k.admin: input should be"),
    ("expires: soon", "keys.yaml:3: error: k.expires: must be a date or a moment, as 2027-01-31"),
    ("expires: 2027-02-30", "must be a date or a moment"),
    ("expires: 9999-12-31", "must be a date or a moment"),
    ("expires: 20270131", "k.expires: input should be a valid string"),
    ("revoked: yes", "k.revoked: must be a date or a moment"),
    ("earlier: [{sha256: aa, until: 2027-01-31}]", "64 hex digits"),
    (f"earlier: [{{sha256: {digest('s')}, until: 2027-01-31}}]", "has the same secret as 'k'"),
    ("limits: {}", "k.limits.0: limits nothing"),
    ("limits:\n    requests: lots", "keys.yaml:3: error: k.limits.0.requests: must be a rate"),
    ("limits: {concurrency: -1}", "k.limits.0.concurrency: input should be greater"),
    ("budgets: [{usd: 5}]", "k.budgets.0.every: field required"),
    ("budgets: [{usd: -5, every: day}]", "k.budgets.0.usd: input should be greater"),
    ("budgets: [{usd: 5, every: day, then: fast}]", "k.budgets.0: `then: fast` must be below"),
]


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_an_invalid_setting_of_a_key_is_reported_with_its_line(
    tmp_path: Path, text: str, words: str
) -> None:
    write(tmp_path, f"k:\n  sha256: {digest('s')}\n  {text}\n")
    with pytest.raises(ConfigError) as caught:
        load("keys.yaml", tmp_path, "")
    assert words in str(caught.value)


def test_a_key_file_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load("keys.yaml", tmp_path, "")


MOMENTS = [
    ("2027-01-31", "2027-02-01T00:00:00+00:00"),  # to the end of the day
    ("2027-12-31", "2028-01-01T00:00:00+00:00"),
    ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00+00:00"),
    ("2027-01-31T18:00:00", "2027-01-31T18:00:00+00:00"),  # UTC if no zone is given
    ("2027-01-31 18:00+02:00", "2027-01-31T16:00:00+00:00"),
]


@pytest.mark.parametrize(("text", "until"), MOMENTS)
def test_an_expiry_is_a_date_or_a_moment(text: str, until: str) -> None:
    assert parse_time(text) == datetime.fromisoformat(until).timestamp()


def test_a_key_works_until_it_expires(tmp_path: Path) -> None:
    """An earlier secret expires with its key at the latest, even if the file says a later date."""
    write(
        tmp_path,
        f"k:\n  sha256: {digest('new')}\n  expires: 2027-01-31\n"
        f"  earlier:\n  - {{sha256: {digest('old')}, until: '2027-01-15T12:00:00Z'}}\n"
        f"  - {{sha256: {digest('older')}, until: 2028-01-01}}\n",
    )
    now = 0.0
    keys = load("keys.yaml", tmp_path, "", clock=lambda: now)
    for text, names in (
        ("2027-01-15T11:59:59Z", 3), ("2027-01-15T12:00:00Z", 2), ("2027-01-31T23:59:59Z", 2),
        ("2027-02-01T00:00:00Z", 0), ("2027-06-01T00:00:00Z", 0),
    ):  # fmt: skip
        now = parse_time(text)
        assert opens(keys, "new", "old", "older") == ["k"] * names, text
    assert len(keys) == 1


NOW = parse_time("2027-01-01T00:00:00Z")
REFUSED = {
    "unknown": "tg-" + "0" * 64,
    "malformed": "\udc80 \x00",
    "longer": "x" * 8000,
    "expired": "expired",
    "revoked": "revoked",
    "before it was revoked": "old of revoked",
    "rotated long ago": "old of live",
}


def refusing(folder: Path) -> KeyTable:
    write(
        folder,
        f"expired: {{sha256: {digest('expired')}, expires: '2026-12-31T00:00:00Z'}}\n"
        f"revoked: {{sha256: {digest('revoked')}, revoked: 2026-12-31,"
        f" earlier: [{{sha256: {digest('old of revoked')}, until: 2028-01-01}}]}}\n"
        f"live: {{sha256: {digest('live')},"
        f" earlier: [{{sha256: {digest('old of live')}, until: 2026-12-30}}]}}\n",
    )
    return load("keys.yaml", folder, "", clock=lambda: NOW)


def test_the_gateway_refuses_all_wrong_keys_with_the_same_message(tmp_path: Path) -> None:
    """A refusal does not reveal that a key was valid once."""
    keys = refusing(tmp_path)
    assert opens(keys, "live") == ["live"]
    problems = set()
    for secret in REFUSED.values():
        with pytest.raises(ProblemError) as caught:
            keys.find(secret)
        problem = caught.value.problem
        problems.add((problem.kind, problem.message, problem.http_status))
    assert len(problems) == 1
    assert len(keys) == 2, "revoked ones are not counted"


def test_all_wrong_keys_run_the_same_lines_of_code(tmp_path: Path) -> None:
    """SEC-TIMING: the same lines run in the same order, so no branch takes a different time.

    `make timing` measures it.
    """
    keys = refusing(tmp_path)
    ways = {name: trace(keys, secret) for name, secret in REFUSED.items()}
    assert len(set(ways.values())) == 1, ways
    assert len(next(iter(ways.values()))) > 5
    assert trace(keys, "live") != ways["unknown"], "the trace sees what differs"


def test_repeated_headers_are_refused_once_their_key_expires_or_is_revoked(tmp_path: Path) -> None:
    """For headers that come again, the gateway keeps the secret's hash, never the key it opened."""
    now = [NOW]
    write(tmp_path, f"one: {{sha256: {digest('one')}, expires: '2027-06-01T00:00:00Z'}}\n")
    keys = load("keys.yaml", tmp_path, "", clock=lambda: now[0])
    head = RequestHeaders([(b"x-api-key", b"one")])
    assert [identify(keys, head).name for _ in range(2)] == ["one", "one"]
    now[0] = parse_time("2027-06-02")
    with pytest.raises(ProblemError):
        identify(keys, head)
    now[0] = NOW
    assert identify(keys, head).name == "one"
    write(tmp_path, f"one: {{sha256: {digest('one')}, revoked: 2026-01-01}}\n")
    keys.refresh()
    with pytest.raises(ProblemError):
        identify(keys, head)


async def test_an_expired_key_leaves_the_lookup_table(tmp_path: Path) -> None:
    """SEC-TIMING: within a second, an expired secret is looked up like one that never was a key."""
    now = [NOW - 2 * 86_400]
    refusing(tmp_path)
    keys = load("keys.yaml", tmp_path, "", clock=lambda: now[0])
    sizes: list[int] = []

    async def sleep(_: float) -> None:
        sizes.append(len(keys._active))
        now[0] += 86_400
        if len(sizes) == 3:
            raise asyncio.CancelledError

    assert opens(keys, "expired") == ["expired"]
    with pytest.raises(asyncio.CancelledError):
        await keys.watch(sleep)
    assert [key.name for key in keys.list_active_keys()] == ["live"]
    assert {key.name for key in keys.list_keys()} > {"live"}
    assert sizes == [3, 1, 1]  # one secret has expired, and so has its earlier one
    assert opens(keys, "live") == ["live"]
    assert opens(keys, "expired") == []


def trace(keys: KeyTable, secret: str) -> tuple[int, ...]:
    """Return the lines of find() and find_by_hash() that run for a secret."""
    line_numbers: list[int] = []
    followed = (KeyTable.find.__code__, KeyTable.find_by_hash.__code__)

    def step(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code in followed and event == "line":
            line_numbers.append(frame.f_lineno)
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        opens(keys, secret)
    finally:
        sys.settrace(before)
    return tuple(line_numbers)


class WatchedKeyFile:
    """A key file that is watched, and what was logged."""

    def __init__(self, folder: Path, text: str, extra: str = "") -> None:
        self.folder = folder
        self.log: list[dict[str, object]] = []
        write(folder, text)
        self.keys = load("keys.yaml", folder, extra, log=self._note)

    def _note(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    def change(self, text: str) -> None:
        write(self.folder, text)
        self.keys.refresh()


ONE, TWO = f"one: {{sha256: {digest('s1')}}}\n", f"two: {{sha256: {digest('s2')}}}\n"


def test_a_change_of_the_file_takes_effect_at_the_next_check(tmp_path: Path) -> None:
    watched = WatchedKeyFile(tmp_path, ONE, f"more={digest('s3')}")
    watched.change(TWO)
    assert opens(watched.keys, "s1", "s2", "s3") == ["two", "more"]
    assert watched.log == [
        {"event": "keys", "file": str(tmp_path / "keys.yaml"), "text": "read again: 2 keys"}
    ]
    watched.keys.refresh()
    assert len(watched.log) == 1, "an unchanged file is not read"


def test_a_file_that_is_changed_in_place_is_read_too(tmp_path: Path) -> None:
    """Most editors do so; the new content may have the same size and the same time."""
    watched = WatchedKeyFile(tmp_path, ONE)
    file = tmp_path / "keys.yaml"
    before = file.stat()
    file.write_text(ONE.replace("one", "own"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    watched.keys.refresh()
    assert opens(watched.keys, "s1") == ["own"]


BROKEN = [
    ("one: [\n", 2, "not valid YAML"),
    (f"{ONE}two: {{sha256: {digest('s2')}, lab: acme, lob: x}}\n", 2, "two.lob: extra inputs"),
    (ONE + ONE, 2, "given twice"),
    (f"two: {{sha256: {digest('s3')}}}\n", 1, "two: has the same secret as 'more'"),
    ("[" * 40_000, 1, "nested too deeply"),
]


@pytest.mark.parametrize(("text", "line", "words"), BROKEN)
def test_a_file_with_a_mistake_changes_no_key_and_is_logged_once(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    watched = WatchedKeyFile(tmp_path, ONE, f"more={digest('s3')}")
    watched.change(text)
    for _ in range(3):
        watched.keys.refresh()
    assert opens(watched.keys, "s1", "s2", "s3") == ["one", "more"]
    (row,) = watched.log
    assert (row["event"], row["file"]) == ("keys", str(tmp_path / "keys.yaml"))
    assert line is None or row["line"] == line
    assert words in str(row["text"])
    assert str(row["text"]).endswith("The keys stay as they were.")
    assert digest("s1") not in str(row)
    watched.change(TWO)
    assert opens(watched.keys, "s1", "s2") == ["two"]


def test_a_missing_file_changes_no_key_until_it_is_back(tmp_path: Path) -> None:
    watched = WatchedKeyFile(tmp_path, ONE)
    (tmp_path / "keys.yaml").unlink()
    watched.keys.refresh()
    watched.keys.refresh()
    assert opens(watched.keys, "s1") == ["one"]
    (row,) = watched.log
    assert "cannot be read: no such file" in str(row["text"])
    watched.change(TWO)
    assert opens(watched.keys, "s1", "s2") == ["two"]


def test_a_file_that_changes_during_the_read_is_read_at_the_next_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway never takes half a file, even if that half has no mistake."""
    watched = WatchedKeyFile(tmp_path, ONE)
    read = Path.read_text

    def half(self: Path, encoding: str) -> str:
        monkeypatch.setattr(Path, "read_text", read)
        write(tmp_path, ONE + TWO)
        return ""

    write(tmp_path, "")
    monkeypatch.setattr(Path, "read_text", half)
    watched.keys.refresh()
    assert (opens(watched.keys, "s1", "s2"), watched.log) == (["one"], [])
    watched.keys.refresh()
    assert opens(watched.keys, "s1", "s2") == ["one", "two"]


async def test_the_gateway_checks_the_key_file_every_second(tmp_path: Path) -> None:
    watched, waits = WatchedKeyFile(tmp_path, ONE), list[float]()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            write(tmp_path, TWO)
        if len(waits) == 4:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await watched.keys.watch(sleep)
    assert waits == [1.0] * 4
    assert opens(watched.keys, "s1", "s2") == ["two"]
    assert len(watched.log) == 1


async def test_without_a_key_file_there_is_nothing_to_check() -> None:
    keys = load("open", NO_FOLDER, "")
    keys.refresh()

    async def sleep(_: float) -> None:
        if keys.is_open:
            keys.is_open = False
            return
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await keys.watch(sleep)
