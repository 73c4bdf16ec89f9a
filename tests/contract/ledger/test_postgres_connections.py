"""A process keeps few connections to PostgreSQL, for as long as it uses them and they work."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.ledger.errors import StoreError
from gateway.ledger.postgres import PostgresStore
from gateway.ledger.postgres_connections import PostgresConnections
from gateway.ledger.sql_store import SqlStore
from gateway.runtime import query_process
from gateway.runtime.composition import VERSION
from tests.contract.ledger.conftest import fed, say
from tests.ledger.postgres import PostgresServer, server
from tests.ledger.rows import entry


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.make_schema()


@pytest.fixture
def pool(url: str) -> Iterator[PostgresConnections]:
    """Make two connections that are kept for a fifth of a second."""
    connections = PostgresConnections(
        lambda: psycopg.connect(url, autocommit=True), 2, wait_seconds=0.05, idle_seconds=0.2
    )
    connections.keep()
    yield connections
    connections.close()


def use(pool: PostgresConnections) -> psycopg.Connection:
    """Use a connection, and return it."""
    with pool.connection() as connection:
        connection.execute("SELECT 1")
        return connection


def wait_until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # a thread of its own closes connections


def count_connections(url: str) -> int:
    """Count the connections of stores."""
    with psycopg.connect(url) as base:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tiergate'"
        row = base.execute(query).fetchone()
    return row[0] if row else 0


def end(connection: psycopg.Connection, url: str) -> None:
    """End a connection from the server's side."""
    with psycopg.connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])


def test_a_kept_connection_serves_the_next_use(pool: PostgresConnections) -> None:
    first = use(pool)
    assert use(pool) is first
    with pool.connection() as one, pool.connection() as two:
        assert one is first
    assert use(pool) is one
    pool.close()
    assert one.closed
    assert two.closed
    assert use(pool).closed, "a closed pool keeps none"


def test_an_unused_connection_is_closed(pool: PostgresConnections) -> None:
    with pool.connection() as one, pool.connection() as two:
        pass
    for _ in range(10):
        assert use(pool) is one
        time.sleep(0.04)  # the other one gets too old
    wait_until(lambda: two.closed)
    wait_until(lambda: one.closed)
    assert not use(pool).closed


def test_an_error_closes_the_connection(pool: PostgresConnections) -> None:
    def fail(connection: psycopg.Connection) -> None:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 / 0")

    with pytest.raises(psycopg.errors.DivisionByZero), pool.connection() as broken:
        fail(broken)
    assert broken.closed
    assert use(pool) is not broken


def test_a_connection_that_the_server_closed_is_replaced(
    pool: PostgresConnections, url: str
) -> None:
    with pool.connection() as one, pool.connection() as two:
        pass
    end(one, url)
    assert use(pool) not in (one, two)
    assert one.closed
    assert two.closed, "after a restart it is broken too"


def test_a_thread_waits_a_moment_for_a_connection_in_use(pool: PostgresConnections) -> None:
    with pool.connection(), pool.connection():
        with (
            pytest.raises(StoreError, match="all 2 connections of this process are in use"),
            pool.connection(),
        ):
            pass
        with pytest.raises(StoreError):
            use(pool)
    assert not use(pool).closed


def test_a_connection_in_use_is_closed_after_a_close(pool: PostgresConnections) -> None:
    with pool.connection() as connection:
        pool.close()
        connection.execute("SELECT 1")
    assert connection.closed


def test_a_process_that_serves_keeps_three_connections_at_most(url: str, folder: Path) -> None:
    store = fed(PostgresStore(url), folder, [entry("before")])
    wait_until(lambda: count_connections(url) == 0)
    store.keep_connection()
    for number in range(3):
        fed(store, folder, [entry(f"{number}")])
        with store.open_reader():
            assert store.sum_costs()[0].calls == number + 2
            assert count_connections(url) == 3
    store.close()
    wait_until(lambda: count_connections(url) == 0)
    assert store.sum_costs()[0].calls == 4


async def test_a_query_process_keeps_its_connection(url: str) -> None:
    process = await query_process.start(url, VERSION)
    try:
        reply = await process.run(SqlStore.count, ())
        assert (reply.value, reply.error) == (0, None)
        assert count_connections(url) == 1
    finally:
        await process.kill()


def test_a_feed_does_not_wait_for_queries(url: str, folder: Path) -> None:
    store = PostgresStore(url)
    with store.open_reader(), store.open_reader():
        thread = threading.Thread(target=fed, args=(store, folder, [entry()]))
        thread.start()
        thread.join(5)
        assert store.state().rows == 1


def test_a_restart_of_the_server_is_not_seen_by_the_next_use(folder: Path) -> None:
    with server() as frail:
        store = PostgresStore(frail.url())
        store.keep_connection()
        fed(store, folder, [entry("a")])
        assert store.sum_costs()[0].calls == 1
        frail.stop()
        say(folder, [entry("b")])
        with pytest.raises(StoreError, match="connection"):
            store.feed(folder)
        frail.start()
        assert store.feed(folder) == 1
        frail.stop()
        frail.start()
        assert store.sum_costs()[0].calls == 2
        store.close()
