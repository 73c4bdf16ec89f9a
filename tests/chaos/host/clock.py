"""P-08: the clock of the machine jumps forward and back while calls run."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from gateway.core.ledger_rows import FinalRow
from tests.chaos.all_clients import FORMS, AllClients, Form, ask, judge_reply, shared_row
from tests.chaos.environment import ChaosEnvironment, make_config
from tests.chaos.gateway import ChaosGateway
from tests.chaos.host.disk import Held
from tests.chaos.provider import honest
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.e2e.child import until
from tests.e2e.four_labs import CHAT, DIALECTS
from tests.e2e.world import Config

_JUMPS = (3_600, -3_600, 86_400, -172_800, 0)
"""Seconds from the true time."""
_LIMIT = 12
"""Requests in an hour."""
_LONGEST = 60.0
"""Seconds within which each of these calls ends."""


def _library() -> str:
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(libraries[0]) if libraries else ""


def _fakeable() -> str:
    """Return why no clock can be moved here."""
    return "" if _library() else "no libfaketime: apt-get install libfaketime"


class _Clock:
    """The time of day that a gateway sees; its monotonic clock runs on."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "clock"
        self.set(0)

    def set(self, seconds: int) -> None:
        """Set the clock to a number of seconds from the true time."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{seconds:+d}\n")
        scratch.rename(self._file)

    def start(self, environment: ChaosEnvironment, value: Config) -> ChaosGateway:
        # libfaketime makes each look at the clock slow, and waits of threads too.
        return environment.start(
            value, promised=5.0, LD_PRELOAD=_library(), FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1",
        )  # fmt: skip


def _jumping(environment: ChaosEnvironment) -> Mapping[Form, Seen]:
    """A clock jump makes no call wait longer, and gives no row a wrong duration."""
    clock = _Clock(environment.folder)
    gateway = clock.start(environment, make_config(environment))
    clients = AllClients(gateway)
    wrong: list[str] = []
    for jump in _JUMPS:
        held = Held(environment)
        for dialect in DIALECTS:
            environment.provider.play(dialect, held.fault, held.fault, honest)
        enough = _hits(environment) + len(FORMS)
        with ThreadPoolExecutor(len(FORMS)) as pool:
            running = {form: pool.submit(ask, gateway, form) for form in FORMS}
            until(partial(_have_asked_providers, environment, enough), "all run")
            clock.set(jump)
            time.sleep(0.2)  # calls run on with the other time
            held.let_go()
            for form, future in running.items():
                clients.replies.setdefault(form, []).append(future.result())
        clients.call(1)
    rows = [
        it for call_rows in gateway.all().values() for it in call_rows if isinstance(it, FinalRow)
    ]
    wrong += [
        f"{it.id} took {it.duration} s" for it in rows if not 0 <= (it.duration or 0) < _LONGEST
    ]
    wrong += [
        f"{it.id}: {it.first_content}" for it in rows if not 0 <= (it.first_content or 0) < _LONGEST
    ]
    days = {int(it.at // 86_400) for it in rows}
    wrong += [] if len(days) >= 3 else [f"rows are of {len(days)} days"]
    slow = max(future.seconds for call_rows in clients.replies.values() for future in call_rows)
    wrong += [] if slow < _LONGEST else [f"a client waited {slow:.0f} s"]
    return clients.seen(wrong=wrong)


def _hits(environment: ChaosEnvironment) -> int:
    return sum(environment.provider.hits[dialect] for dialect in DIALECTS)


def _have_asked_providers(environment: ChaosEnvironment, enough: int) -> bool:
    return _hits(environment) >= enough


def _limited(environment: ChaosEnvironment, cell: Cell) -> Seen:
    """A limit survives clock jumps.

    When the clock goes back, no client waits for the future. When it goes forward, the limit is
    free again once.
    """
    clock = _Clock(environment.folder)
    value = make_config(environment)
    value["limits"] = [{"name": "some", "requests": f"{_LIMIT}/h"}]
    gateway = clock.start(environment, value)
    form = (cell.dialect, cell.mode)

    def passed() -> int:
        count = 0
        while judge_reply(form, ask(gateway, form)) == "answer":
            count += 1
            assert count < 100
        return count

    first = passed()
    clock.set(-7_200)
    back = passed()
    clock.set(0)
    again = passed()
    clock.set(7_200)
    forward = passed()
    after = [reply for reply in gateway.replies if reply.status == 429]
    waits = [int(reply.headers.get("retry-after", "0")) for reply in after]
    # Eight calls were made to warm it up.
    wrong = [] if first + 8 == _LIMIT else [f"{first} passed at first"]
    wrong += [] if back + again <= 2 * _LIMIT else [f"{back} and {again} passed"]
    wrong += [] if forward <= _LIMIT else [f"{forward} passed after two hours"]
    wrong += [] if max(waits) <= 3_600 else [f"retry-after {max(waits)}"]
    return Seen(more=f"{first}, {back} back, {again} again, {forward} forward", wrong=tuple(wrong))


ROWS: tuple[FaultRow, ...] = (
    shared_row("P-08", "the clock jumps by hours and days", "process", _jumping,
        Expected(200, "answer", None, "settled"), needs=(_fakeable,)),
    FaultRow("P-08", "the clock jumps under a limit", "process", _limited, Expected(more=r"\d+, \d+ back, .*"),
        own=True, dialects=(CHAT,), modes=("whole",), needs=(_fakeable,)),
)  # fmt: skip
