"""Test the sums and rows that admins read over HTTP, access to them, and how a program follows."""

import asyncio
import csv
import io
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from gateway.core import jsonio
from gateway.core.ledger_rows import AttemptRow, FinalRow, RepriceRow, Row
from gateway.ledger.errors import QueryTooLongError
from gateway.ledger.journal import Journal
from gateway.runtime import query_pool
from gateway.server.admin import costs
from gateway.server.queries import entries
from tests.e2e.upstream import PATIENCE, Upstream
from tests.e2e.world import Config, Make, World, chat
from tests.ledger.busy import WAITS, feeding
from tests.ledger.rows import entry, sealed
from tests.server.gate import CLIENT_KEY, KEYS

ADMIN = "admin-key-0123456789-never-shown"
COSTS, ENTRIES = "/admin/costs", "/admin/entries"
ENDPOINTS = (COSTS, ENTRIES, f"{ENTRIES}/tg-1", "/admin/health")


def write(world: World, *rows: Row) -> None:
    """Write rows to the journals of a gateway, as another of its processes would."""
    journal = Journal(world.gateway.journal_folder)
    for row in rows:
        journal.write(row)
    journal.close()


def get(world: World, path: str, **headers: str) -> httpx.Response:
    return world.client.get(path, headers={k.replace("_", "-"): v for k, v in headers.items()})


def check_error(reply: httpx.Response, status: int) -> str:
    assert reply.status_code == status, reply.text
    assert ADMIN not in reply.text
    assert CLIENT_KEY not in reply.text
    return str(reply.json()["error"]["message"])


def lines(reply: httpx.Response) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [jsonio.loads(line) for line in reply.content.splitlines()]


ROWS = (
    entry("tg-1", cost=Decimal("0.10"), input=1, output=2, tags=("eu", "=x")),
    entry("tg-2", cost=Decimal("1E-12"), lab="acme", model="llama3:8b", key="bob"),
    entry("tg-3", cost=None, lab="acme", reserved=Decimal("0.5"), tenant="other"),
)


def test_sums_have_the_keys_of_the_command_and_exact_decimals(world: World) -> None:
    """Sums have the command's keys; decimals are exact text, and unknown values are null."""
    write(world, *ROWS)
    report = get(world, f"{COSTS}?by=lab,tier&since=2026-10-01&zone=Europe/Berlin").json()
    names = ["since", "until", "zone", "by", "groups", "total", "damaged_rows", "from_rows"]
    assert list(report) == names
    assert (report["zone"], report["by"], report["until"]) == (
        "Europe/Berlin",
        ["lab", "tier"],
        None,
    )
    by_lab = {group["lab"]: group for group in report["groups"]}
    assert by_lab["openai"]["cost"] == "0.10"
    assert by_lab["acme"]["cost"] == "0.000000000001"
    assert (by_lab["acme"]["unknown"], by_lab["acme"]["calls"]) == (1, 2)
    assert by_lab["openai"]["reasoning"] is None
    assert report["total"]["calls"] == 3
    assert report["total"]["cost"] == "0.100000000001"


def test_by_default_sums_are_by_tier_in_the_configured_time_zone(world: World) -> None:
    write(world, *ROWS)
    report = get(world, COSTS).json()
    assert (report["by"], report["zone"], report["since"]) == (["tier"], "UTC", None)
    assert [group["tier"] for group in report["groups"]] == ["fast"]


def test_only_can_be_repeated_and_takes_a_colon_or_an_equals_sign(world: World) -> None:
    write(world, *ROWS)
    for only, calls in (
        ("only=lab:acme", 2), ("only=lab%3Dacme&only=key:bob", 1), ("only=lab:acme&only=lab:openai", 3),
        ("only=model:llama3:8b", 1), ("only=id:tg-3", 1), ("only=tag:%3Dx", 1),
    ):  # fmt: skip
        assert get(world, f"{COSTS}?{only}").json()["total"]["calls"] == calls, only


def test_sums_as_csv_contain_no_formulas(world: World) -> None:
    """A spreadsheet cannot run a name as a formula; an unknown value is an empty cell."""
    write(world, *ROWS)
    reply = get(world, f"{COSTS}?by=tag&format=csv")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    table = list(csv.DictReader(io.StringIO(reply.text)))
    assert sorted(row["tag"] for row in table) == ["", "'=x", "eu"]
    assert {row["cost"] for row in table} == {"0.10", "0.000000000001"}
    assert {row["reasoning"] for row in table} == {""}


def test_a_call_is_listed_as_soon_as_it_has_ended(world: World, upstream: Upstream) -> None:
    """The caller does not wait for the store's next feed."""
    reply = world.ask(chat())
    (row,) = lines(get(world, ENTRIES))
    assert row["id"] == reply.headers["x-request-id"]
    assert row["kind"] == "final"
    assert row["cost"] == reply.headers["x-tiergate-cost"]
    single_row = get(world, f"{ENTRIES}/{row['id']}").json()
    assert single_row == {**row, "tries": [], "feedback": None}


def test_a_row_that_another_process_is_feeding_is_waited_for(
    world: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process feeds at a time: until it is done the store does not know the call."""
    monkeypatch.setattr(world.gateway.ledger_runtime, "feed", int)
    id = world.ask(chat()).headers["x-request-id"]
    with feeding(world.gateway.journal_folder) as other:
        monkeypatch.setattr(world.gateway.store, "_sleep", other.sleep)
        reply = get(world, f"{ENTRIES}/{id}")
    assert (reply.status_code, len(other.waited)) == (200, WAITS)
    assert reply.json()["id"] == id


SUMS = {
    COSTS: lambda report: report["total"]["calls"],
    "/admin/series": lambda report: report["total"]["calls"],
    "/admin/latency": lambda report: report["total"]["duration"]["count"],
    "/admin/entries?format=json": len,
}


@pytest.mark.parametrize("path", SUMS)
def test_sums_wait_for_another_process_that_feeds(
    world: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Sums include every row written before the request, whichever process feeds the store."""
    gateway = world.gateway
    monkeypatch.setattr(gateway.ledger_runtime, "feed", int)
    for _ in range(2):
        world.ask(chat())
    with feeding(gateway.journal_folder) as other:
        monkeypatch.setattr(gateway.store, "feed", other.feed(gateway.store))
        reply = get(world, path)
    assert SUMS[path](reply.json()) == 2
    assert len(other.waited) == WAITS


def test_rows_are_json_lines_with_exact_money(world: World) -> None:
    write(world, *ROWS)
    listed_rows = lines(get(world, ENTRIES))
    assert [row["id"] for row in listed_rows] == ["tg-1", "tg-2", "tg-3"]
    assert [row["cost"] for row in listed_rows] == ["0.10", "0.000000000001", None]
    assert listed_rows[0]["tags"] == ["eu", "=x"]
    assert listed_rows[2]["tenant"] == "other", "an admin sees all"
    fields = set(FinalRow.__struct_fields__) | {"kind", "repriced", "cursor"}
    assert set(listed_rows[0]) == fields


def test_rows_as_json_and_csv(world: World) -> None:
    write(world, *ROWS)
    reply_json = get(world, f"{ENTRIES}?format=json").json()
    assert reply_json["entries"] == lines(get(world, ENTRIES))
    assert reply_json["cursor"] == reply_json["entries"][-1]["cursor"]
    reply = get(world, f"{ENTRIES}?format=csv")
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    table = list(csv.DictReader(io.StringIO(reply.text)))
    assert [row["cost"] for row in table] == ["0.10", "0.000000000001", ""]
    assert [row["tags"] for row in table] == ['["eu","=x"]', "[]", "[]"]
    assert table[0]["cache_write_by"] == "{}"
    assert table[0].keys() == reply_json["entries"][0].keys() - {"kind"}


def test_without_rows_the_answer_is_empty_and_has_no_cursor(world: World) -> None:
    reply = get(world, ENTRIES)
    assert (reply.status_code, reply.content) == (200, b"")
    assert "x-tiergate-cursor" not in reply.headers
    assert get(world, f"{ENTRIES}?format=json").json() == {"entries": [], "cursor": None}
    assert len(get(world, f"{ENTRIES}?format=csv").text.splitlines()) == 1


def test_a_client_that_follows_the_ledger_misses_no_row(world: World) -> None:
    """A follower gets a call that ends late, however long ago it began, and a price that comes
    later.
    """
    write(world, *(entry(f"tg-{n}", at=1_793_000_000.0 + n) for n in range(5)))
    first = get(world, f"{ENTRIES}?limit=2&only=lab:openai&after=")
    assert [row["id"] for row in lines(first)] == ["tg-0", "tg-1"]
    assert first.headers["x-tiergate-cursor"] == lines(first)[-1]["cursor"]
    url = first.links["next"]["url"]
    assert url.count("after=") == 1
    second = get(world, url)
    assert [row["id"] for row in lines(second)] == ["tg-2", "tg-3"]
    third = get(world, second.links["next"]["url"])
    assert [row["id"] for row in lines(third)] == ["tg-4"]
    assert "link" not in third.headers
    cursor = third.headers["x-tiergate-cursor"]
    idle = get(world, f"{ENTRIES}?after={cursor}")
    assert (idle.content, idle.headers["x-tiergate-cursor"]) == (b"", cursor)
    write(world, entry("tg-late", at=1_700_000_000.0))
    write(world, RepriceRow(id="tg-1", at=1_793_000_099.0, cost=Decimal("0.7"), price="later"))
    rows_by_id = {row["id"]: row for row in lines(get(world, f"{ENTRIES}?after={cursor}"))}
    assert rows_by_id.keys() == {"tg-late", "tg-1"}
    assert (rows_by_id["tg-1"]["cost"], rows_by_id["tg-1"]["repriced"]) == ("0.7", 1_793_000_099.0)


def test_many_rows_are_written_in_batches(world: World) -> None:
    count = 2 * entries._BATCH_ROWS + 1
    write(world, *(entry(f"tg-{n}") for n in range(count)))
    assert len(lines(get(world, ENTRIES))) == count
    table = get(world, f"{ENTRIES}?format=csv").text.splitlines()
    assert len(table) == len(set(table)) == count + 1
    reply_json = get(world, f"{ENTRIES}?format=json").json()
    assert reply_json["entries"] == lines(get(world, ENTRIES))
    for limit, has_next in ((count, True), (count + 1, False), (entries._BATCH_ROWS, True)):
        reply = get(world, f"{ENTRIES}?limit={limit}")
        assert (len(lines(reply)), "link" in reply.headers) == (min(limit, count), has_next)


def test_rows_can_be_listed_newest_first_and_followed_from_there(world: World) -> None:
    count = 2 * entries._BATCH_ROWS + 1
    write(world, *(entry(f"tg-{n:04}", at=1_793_000_000.0 + n) for n in range(count)))
    newest = [f"tg-{n:04}" for n in reversed(range(count))]
    reply = get(world, f"{ENTRIES}?order=newest&limit={count - 1}&only=tier:fast&format=json")
    assert [row["id"] for row in reply.json()["entries"]] == newest[:-1]
    assert reply.headers["x-tiergate-cursor"] == reply.json()["cursor"]
    assert (
        reply.headers["link"]
        == f'</admin/entries?order=newest&limit={count - 1}&only=tier%3Afast&format=json&before={newest[-2]}>; rel="next"'
    )
    assert [
        row["id"] for row in lines(get(world, reply.links["next"]["url"].replace("json", "ndjson")))
    ] == newest[-1:]
    follow = f"{ENTRIES}?after={reply.headers['x-tiergate-cursor']}"
    assert lines(get(world, follow)) == []
    write(world, entry("tg-late", at=1.0))
    assert [row["id"] for row in lines(get(world, follow))] == ["tg-late"]
    for query, problem in (
        ("order=oldest", "The order is came or newest."),
        (
            "order=newest&after=1",
            "order=newest, `sort` and `search` page with `before`. To use `after`, leave them out.",
        ),
        ("before=tg-1", "`before` needs order=newest. Without it, page with `after`."),
        ("order=newest&before=tg-none", "The ledger has no call of this id."),
        ("order=newest&before=%00", "The ledger has no call of this id."),
    ):
        assert check_error(get(world, f"{ENTRIES}?{query}"), 400) == problem


def test_calls_of_a_day_are_sorted_and_searched(make: Make) -> None:
    world, now = make(), time.time()
    user = world.gateway.end_user_hasher.hash_id("default", "open", "ann")
    write(
        world,
        entry("tg-1", at=now - 90, cost=Decimal(2), problem="upstream_timeout"),
        entry("tg-2", at=now - 60, cost=Decimal(3), end_user=user),
        entry("tg-3", at=now - 30, cost=None),
        entry("tg-old", at=now - 90_000, cost=Decimal(9), problem="upstream_timeout"),
    )

    def ids(query: str) -> list[str]:
        return [row["id"] for row in lines(get(world, f"{ENTRIES}?{query}"))]

    assert ids("sort=cost") == ["tg-1", "tg-2", "tg-3"]
    assert ids("sort=-cost") == ["tg-2", "tg-1", "tg-3"]
    assert ids("sort=received") == ["tg-old", "tg-1", "tg-2", "tg-3"], "all time: no sort reads it"
    assert ids("search=TIMEOUT") == ["tg-1"]
    assert ids("search=timeout&since=26h&until=24h") == ["tg-old"]
    assert ids("search=ann") == ids(f"search={user}") == ["tg-2"]
    first = get(world, f"{ENTRIES}?sort=-cost&limit=1&search=tg&format=csv")
    assert [row["id"] for row in csv.DictReader(io.StringIO(first.text))] == ["tg-2"]
    second = get(world, first.links["next"]["url"])
    assert [row["id"] for row in csv.DictReader(io.StringIO(second.text))] == ["tg-1"]
    for query, problem in (
        (
            "sort=price",
            "'price' is none of received, cost, duration, first_content, tokens, with -",
        ),
        (
            "sort=cost&since=7d",
            "A search, and each order but that of receipt, covers at most a day",
        ),
        (
            "search=a&since=26h",
            "A search, and each order but that of receipt, covers at most a day",
        ),
        ("search=%00", "`search` is a text of at most 200 characters."),
        ("search=a&order=came", "order=came has neither `sort` nor `search`: leave it out."),
        ("search=a&after=1", "order=newest, `sort` and `search` page with `before`."),
    ):
        assert check_error(get(world, f"{ENTRIES}?{query}"), 400).startswith(problem)


def test_what_takes_too_long_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise QueryTooLongError(10.0)

    for name in "read_ordered", "sum_costs", "measure_latency":
        monkeypatch.setattr(world.gateway.store, name, fail)
    for path in (
        f"{ENTRIES}?search=a",
        f"{COSTS}?by=user",
        "/admin/series?by=user",
        "/admin/latency?by=tag",
        "/admin/rules",
        "/v1/usage",
    ):
        message = check_error(get(world, path), 400)
        start = "The ledger did not answer this within 10 s: ask for a shorter time"
        assert message.startswith(start), path


def test_an_answer_says_if_single_rows_were_read(world: World) -> None:
    write(world, entry("tg-1", at=time.time() - 20_000), entry("tg-2", at=time.time() - 10_000))
    world.gateway.store.feed(world.gateway.journal_folder)
    world.gateway.store.make_sums()
    for path in "costs", "series", "latency":
        for by, from_rows in ("user", True), ("tier", False):
            report = get(world, f"/admin/{path}?by={by}&since=12h").json()
            assert report["from_rows"] is from_rows, (path, by)


def test_rows_can_be_filtered_by_status_and_conversation(world: World) -> None:
    write(world, entry("tg-1", status=429, conversation="c1"), entry("tg-2", status=200))
    for only, expected_id in (
        ("status:429", "tg-1"),
        ("conversation:c1", "tg-1"),
        ("status:200", "tg-2"),
    ):
        assert [row["id"] for row in lines(get(world, f"{ENTRIES}?only={only}"))] == [expected_id]


def test_a_call_is_shown_with_its_attempts(world: World) -> None:
    failed_attempt = AttemptRow(
        id="tg-1", attempt=1, at=1.5, provider="openai", model="m", problem="upstream_timeout",
        reserved=Decimal("0.25"),
    )  # fmt: skip
    write(world, failed_attempt, entry("tg-1", attempts=2))
    call = get(world, f"{ENTRIES}/tg-1").json()
    (attempt,) = call["tries"]
    assert (attempt["kind"], attempt["problem"], attempt["cost"], attempt["reserved"]) == (
        "attempt", "upstream_timeout", None, "0.25",
    )  # fmt: skip
    for unknown_id in ("tg-2", "%00"):
        assert check_error(get(world, f"{ENTRIES}/{unknown_id}"), 404).startswith(
            "The ledger has no row"
        )


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("/admin/costs?by=colour", "'colour' is none of tier, lab,"),
        ("/admin/costs?by=id", "'id' is none of tier, lab,"),
        ("/admin/costs?only=lab", "'lab' is not NAME=VALUE"),
        ("/admin/costs?only=tag:a%00", r"'tag:a\x00' has a character that no value has."),
        ("/admin/costs?zone=Mars/Olympus", "There is no time zone 'Mars/Olympus'."),
        ("/admin/costs?since=yesterday", "'yesterday' is no time"),
        ("/admin/costs?format=xml", "The format is json or csv."),
        ("/admin/costs?form=csv", "There is no parameter 'form' here. Did you mean 'format'?"),
        ("/admin/entries?limit=0", "The limit is a number from 1 to 10000."),
        ("/admin/entries?limit=10001", "The limit is a number from 1 to 10000."),
        ("/admin/entries?limit=1e3", "The limit is a number from 1 to 10000."),
        ("/admin/entries?limit=-1", "The limit is a number from 1 to 10000."),
        ("/admin/entries?after=x", "This store has no such cursor. Start without a cursor."),
        (
            "/admin/entries?after='%20OR%201=1%20--",
            "This store has no such cursor. Start without a cursor.",
        ),
        ("/admin/entries?format=parquet", "The format is ndjson or csv or json."),
    ],
)
def test_a_wrong_query_gets_an_error_that_names_the_mistake(
    world: World, query: str, problem: str
) -> None:
    assert check_error(get(world, query), 400).startswith(problem)


@pytest.mark.parametrize("path", ENDPOINTS)
def test_only_an_admin_key_opens_the_admin_endpoints(make: Make, path: str) -> None:
    """SEC-AUTH 3: the admin key works in each header that takes a client's key; client keys open
    nothing here.
    """
    world = make(TIERGATE_ADMIN_KEY=ADMIN, TIERGATE_KEYS=KEYS)
    write(world, *ROWS)
    for header in (
        {"authorization": f"Bearer {ADMIN}"}, {"x-api-key": ADMIN}, {"api-key": ADMIN}, {"x-goog-api-key": ADMIN},
    ):  # fmt: skip
        assert get(world, path, **header).status_code == 200, header
    assert "TIERGATE_ADMIN_KEY" in check_error(get(world, path), 401)
    for wrong_key in (CLIENT_KEY, ADMIN[:-1], f"{ADMIN}x", "é", ""):
        reply = world.client.get(path, headers=[(b"x-api-key", wrong_key.encode())])
        check_error(reply, 401)
        assert reply.headers["x-should-retry"] == "false"
    two_keys = {"authorization": f"Bearer {CLIENT_KEY}", "x_api_key": ADMIN}
    check_error(get(world, path, **two_keys), 401)
    check_error(get(world, f"{path}?key={ADMIN}"), 401)
    proxied = {"x_api_key": ADMIN, "x_forwarded_for": "203.0.113.9", "host": "gateway.example"}
    assert get(world, path, **proxied).status_code == 200


FOREIGN_HEADERS = [
        ("forwarded", "for=127.0.0.1"), ("x-forwarded-for", "127.0.0.1"), ("x-forwarded-host", "localhost"),
        ("x-real-ip", "127.0.0.1"), ("via", "1.1 proxy"), ("cf-connecting-ip", "127.0.0.1"),
        ("host", "evil.example"), ("host", "127.0.0.1.evil.example"), ("host", "localhost.evil.example:80"),
        ("host", "169.254.169.254"), ("host", ""), ("origin", "https://evil.example"), ("origin", "null"), ("origin", "http://localhost:1"),
        ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"),
]  # fmt: skip


@pytest.mark.parametrize("path", ENDPOINTS)
def test_without_an_admin_key_only_this_machine_itself_is_answered(world: World, path: str) -> None:
    """The gateway refuses proxies, names that resolve to it (DNS rebinding), and other web pages."""
    write(world, *ROWS)
    for header in FOREIGN_HEADERS:
        reply = world.client.get(path, headers=dict([header]))
        assert "Set TIERGATE_ADMIN_KEY" in check_error(reply, 403), header


@pytest.mark.parametrize("host", ["evil.example/@127.0.0.1", "evil@127.0.0.1", "[::1"])
def test_an_invalid_host_is_refused_before_the_key_is_checked(world: World, host: str) -> None:
    """The gateway refuses the request before it checks the caller's key."""
    assert "Host" in check_error(world.client.get("/admin/entries", headers={"host": host}), 400)


def test_without_an_admin_key_a_proxy_that_speaks_http_1_0_is_refused(
    world: World,
) -> None:
    """nginx, as installed, sends HTTP/1.0 with the loopback name and no header that shows a proxy."""
    host = f"127.0.0.1:{world.port}"
    with socket.create_connection(("127.0.0.1", world.port), PATIENCE) as connection:
        connection.sendall(
            f"GET {COSTS} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        with connection.makefile("rb") as file:
            answer = file.read()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"through a proxy. Set TIERGATE_ADMIN_KEY" in answer


@pytest.mark.parametrize("path", ENDPOINTS)
def test_without_an_admin_key_loopback_has_many_names(world: World, path: str) -> None:
    write(world, *ROWS)
    own_host = f"127.0.0.1:{world.port}"
    for headers in (
        {"host": "localhost"}, {"host": "localhost."}, {"host": f"LOCALHOST:{world.port}"}, {"host": "[::1]:8484"}, {"host": "127.8.8.8"},
        {"origin": f"http://{own_host}", "host": own_host}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"},
        {"x-api-key": "whatever a client has"},
    ):  # fmt: skip
        assert world.client.get(path, headers=headers).status_code == 200, headers


@pytest.mark.parametrize("peer", [("203.0.113.9", 5), ("fe80::1", 5), None])
async def test_without_an_admin_key_another_machine_is_refused(
    world: World, peer: tuple[str, int] | None
) -> None:
    app = FastAPI()
    costs.add_routes(app, world.gateway)
    outcome = await _ask(app, peer)
    assert outcome == "not_allowed"
    assert await _ask(app, ("::ffff:127.0.0.1", 5)) == "200"


async def _ask(app: FastAPI, peer: tuple[str, int] | None) -> str:
    from gateway.core.errors import ProblemError  # noqa: PLC0415

    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()  # the client stays
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "GET", "path": COSTS, "raw_path": COSTS.encode(),
        "query_string": b"", "headers": [(b"host", b"localhost")], "client": peer, "server": None, "scheme": "http",
        "root_path": "",
    }  # fmt: skip
    try:
        await app(scope, receive, send)
    except ProblemError as error:
        return error.problem.kind
    return str(messages[0]["status"])


@pytest.mark.parametrize("path", ENDPOINTS)
def test_an_admin_key_that_is_also_a_client_key_opens_nothing(make: Make, path: str) -> None:
    world = make(TIERGATE_ADMIN_KEY=CLIENT_KEY, TIERGATE_KEYS=KEYS)
    assert "client's key too" in check_error(get(world, path, x_api_key=CLIENT_KEY), 403)


def test_every_admin_route_needs_a_key(make: Make) -> None:
    """A route that is added later is guarded too."""
    world = make(TIERGATE_ADMIN_KEY=ADMIN)
    paths = world.client.get("/openapi.json").json()["paths"]
    routes = [
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/admin")
    ]
    assert {("GET", re.sub("tg-1", "{name}", path)) for path in ENDPOINTS} < {*routes}
    assert ("POST", "/admin/reload") in routes
    for method, path in routes:
        check_error(world.client.request(method, path), 401)


def test_answers_to_admins_are_never_cached(world: World) -> None:
    """A browser sends a cookie instead of a key, so caches would take the answer for public."""
    paths = (*ENDPOINTS, "/admin/config", "/admin/rules", "/admin/none", "/admin/costs?by=colour")
    for path in paths:
        headers = get(world, path).headers
        assert headers.get_list("cache-control") == ["no-store"], path
        assert headers["x-content-type-options"] == "nosniff", path
    assert "cache-control" not in get(world, "/health").headers


def test_a_store_that_cannot_be_read_is_a_503(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no such disk")

    monkeypatch.setattr(world.gateway.store, "feed", fail)
    assert (
        check_error(get(world, COSTS), 503) == "The gateway cannot read the ledger: no such disk."
    )


def test_slow_ledger_queries_do_not_delay_calls(
    world: World, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While many requests hang in the store, the gateway serves a call; in the end all are
    answered.
    """
    import threading  # noqa: PLC0415

    may_end, started = threading.Event(), threading.Semaphore(0)
    sum_costs = world.gateway.store.sum_costs

    def hang(*args: Any, **options: Any) -> Any:
        started.release()
        assert may_end.wait(30)
        return sum_costs(*args, **options)

    monkeypatch.setattr(world.gateway.store, "sum_costs", hang)
    with ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(httpx.get, f"{world.url}{COSTS}", timeout=30) for _ in range(8)]
        for _ in range(query_pool.MAX_PROCESSES):
            assert started.acquire(timeout=30)
        assert world.ask(chat()).status_code == 200
        assert not started.acquire(blocking=False), "more at once than there may be"
        may_end.set()
        assert {reply.result().status_code for reply in replies} == {200}


def test_sums_and_the_log_and_metrics_tell_of_damaged_rows(make: Make) -> None:
    def use_budget(value: Config) -> None:
        value["budgets"] = [
            {"name": "ever", "usd": 9, "every": "total"},
            {"name": "now", "usd": 9, "every": "hour"},
        ]

    world = make(use_budget)
    folder = world.gateway.journal_folder
    rows = sealed(*map(entry, "abcd")).splitlines(keepends=True)
    assert get(world, COSTS).json()["damaged_rows"] == 0
    path = folder / "a.sealed.jsonl"
    path.touch(0o600)
    path.write_bytes(b"".join([rows[0], rows[3]]))
    reply = get(world, COSTS)
    assert (reply.json()["total"]["calls"], reply.json()["damaged_rows"]) == (2, 2)
    assert get(world, f"{COSTS}?format=csv").headers["x-tiergate-damaged-rows"] == "2"
    series = get(world, "/admin/series?since=2026-10-26&until=2026-10-27&every=hour")
    assert series.json()["damaged_rows"] == 2
    for name in ("latency", "rules", "conversations"):
        period = "since=2026-10-26&until=2026-10-27"
        assert get(world, f"/admin/{name}?{period}").json()["damaged_rows"] == 2, name
    assert get(world, "/v1/usage?since=2026-10-26").json()["damaged_rows"] == 2
    assert get(world, "/v1/usage?since=2026-10-28").json()["damaged_rows"] == 0
    budgets = get(world, "/admin/budgets").json()["budgets"]
    assert {row["name"]: row["damaged_rows"] for row in budgets} == {"ever": 2, "now": 0}
    after = get(world, f"{COSTS}?since=2026-10-28")
    assert (after.json()["damaged_rows"], "x-tiergate-damaged-rows" in after.headers) == (0, False)
    assert "tiergate_ledger_damaged_rows_total 2.0\n" in get(world, "/metrics").text
    for _ in range(2):
        world.gateway.ledger_runtime.feed()
    (event,) = [line for line in world.log if line["event"] == "ledger"]
    assert (event["error"], event["rows"]) == ("rows of the journal are damaged or missing", 2)
