"""Test query processes as the gateway starts them: real ones, over a real store."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.errors import ProblemError
from gateway.ledger.errors import (
    QueryTooLargeError,
    QueryTooLongError,
    StoreDamagedError,
    StoreError,
)
from gateway.ledger.journal import Journal
from gateway.ledger.store import open_store
from gateway.runtime import query_process
from gateway.runtime.composition import VERSION
from gateway.runtime.query_pool import QueryPool
from gateway.runtime.query_program import NICENESS
from gateway.telemetry.log import ignore_event
from tests.contract.client import until
from tests.e2e.upstream import PATIENCE
from tests.ledger.rows import entry
from tests.runtime import query_functions

_PARENT = """
import asyncio, sys
from gateway.runtime import query_process
from tests.runtime import query_functions

async def main():
    process = await query_process.start(sys.argv[1], sys.argv[2])
    await process.run(query_functions.hang, (sys.argv[3],))

asyncio.run(main())
"""
"""A program that waits for a query that never ends."""


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/ledger.db"
    journal = Journal(tmp_path / "ledger")
    for number in range(3):
        journal.write(entry(f"tg-{number}", key="bob"))
    journal.close()
    open_store(url).feed(tmp_path / "ledger")
    return url


@pytest.fixture
async def process(store_url: str) -> AsyncIterator[query_process.QueryProcess]:
    """A query process that was started while this one listens on a socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        process = await query_process.start(store_url, VERSION)
        yield process
        await process.kill()


def wait_until_gone(pid: int) -> None:
    """Wait until a process that is no child of this one has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended, _, _ = select.select([descriptor], [], [], PATIENCE)
    os.close(descriptor)
    assert ended, f"the process {pid} still runs"


async def test_a_query_runs_in_another_process_that_has_only_what_it_needs(
    process: query_process.QueryProcess,
) -> None:
    """It has no socket and few modules, and calls go first."""
    reply = await process.run(query_functions.count_calls, ("bob",))
    assert reply.value == 3
    reply = await process.run(query_functions.describe_process, ())
    pid, niceness, files, modules = reply.value
    assert pid != os.getpid()
    assert niceness == min(os.nice(0) + NICENESS, 19)
    assert not [name for name in files if name.startswith("socket:")], files
    assert not {"fastapi", "uvicorn", "httpx", "gateway.runtime.composition"} & set(modules)


async def test_a_large_value_and_text_on_the_standard_output_do_no_harm(
    process: query_process.QueryProcess,
) -> None:
    assert (await process.run(query_functions.print_text, ("hello",))).value == "hello"
    assert (await process.run(query_functions.repeat, (3_000_000,))).value == b"x" * 3_000_000


async def test_errors_come_back_as_they_are(
    process: query_process.QueryProcess, tmp_path: Path
) -> None:
    """A bug's text stays in the process: it may quote a prompt."""
    refusal = (await process.run(query_functions.refuse, ())).error
    assert isinstance(refusal, ProblemError)
    assert (refusal.problem.message, refusal.problem.param) == ("No such cursor.", "after")
    too_long = (await process.run(query_functions.take_too_long, ())).error
    assert isinstance(too_long, QueryTooLongError)
    assert too_long.max_seconds == 2.5
    too_large = (await process.run(query_functions.read_too_much, ())).error
    assert isinstance(too_large, QueryTooLargeError)
    assert too_large.max_calls == 9
    reply = await process.run(query_functions.fail, ())
    assert reply.bug.startswith("KeyError at query_functions.py:")
    (tmp_path / "ledger.db").write_bytes(b"no database" * 1000)
    reply = await process.run(query_functions.count_calls, ("bob",))
    assert isinstance(reply.error, StoreDamagedError)


async def test_a_store_that_cannot_be_opened_is_tried_again_at_the_next_query(
    tmp_path: Path,
) -> None:
    url, file = f"sqlite:///{tmp_path}/ledger.db", tmp_path / "ledger.db"
    file.mkdir()
    process = await query_process.start(url, VERSION)
    reply = await process.run(query_functions.count_calls, ("bob",))
    assert isinstance(reply.error, StoreError), reply
    file.rmdir()
    assert (await process.run(query_functions.count_calls, ("bob",))).value == 0
    await process.kill()


async def test_ctrl_c_does_not_end_a_query_process(process: query_process.QueryProcess) -> None:
    pid = (await process.run(query_functions.describe_process, ())).value[0]
    os.kill(pid, signal.SIGINT)
    assert (await process.run(query_functions.describe_process, ())).value[0] == pid


async def test_the_program_of_another_version_answers_nothing(store_url: str) -> None:
    """After an update it might change the store, which the gateway still uses as it was."""
    process = await query_process.start(store_url, "0.0.1")
    with pytest.raises((EOFError, ConnectionError)):
        await process.run(query_functions.count_calls, ("bob",))
    await process.kill()
    assert not process.is_running()


async def test_a_killed_process_is_replaced(store_url: str, tmp_path: Path) -> None:
    """The query that it runs gets an error in words, and the next one another process."""
    started: list[query_process.QueryProcess] = []

    async def start() -> query_process.QueryProcess:
        started.append(await query_process.start(store_url, VERSION))
        return started[-1]

    pool, file = QueryPool(start, ignore_event), tmp_path / "pid"
    query = asyncio.create_task(pool.run(query_functions.hang, str(file)))
    await until(lambda: file.exists() and file.read_text() != "")
    os.kill(int(file.read_text()), signal.SIGKILL)
    with pytest.raises(ProblemError, match="ended before its answer"):
        await query
    assert not started[0].is_running()
    os.kill(
        (await pool.run(query_functions.describe_process))[0], signal.SIGKILL
    )  # without a query
    await until(lambda: not started[1].is_running())
    assert await pool.run(query_functions.count_calls, "bob") == 3
    assert len(started) == 3
    await pool.close()
    assert not started[2].is_running()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_query_process_ends_with_its_gateway(
    store_url: str, tmp_path: Path, signal_number: int
) -> None:
    """It ends also in the middle of a query."""
    file = tmp_path / "pid"
    command = [sys.executable, "-c", _PARENT, store_url, VERSION, str(file)]
    with subprocess.Popen(command) as parent:
        while not file.exists() or not file.read_text():
            assert parent.poll() is None
        parent.send_signal(signal_number)
        parent.wait(PATIENCE)
    wait_until_gone(int(file.read_text()))
