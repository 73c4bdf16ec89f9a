"""Rows that are played elsewhere, or cannot be played; each is listed with its reason."""

from tests.chaos.environment import ChaosEnvironment
from tests.chaos.row import Cell, Expected, FaultRow, Seen
from tests.e2e.four_labs import CHAT


def _play(_: ChaosEnvironment, cell: Cell) -> Seen:
    raise AssertionError(cell.row.missing())


def _row(id: str, fault: str, family: str, why: str) -> FaultRow:
    return FaultRow(
        id, fault, family, _play, Expected(), own=True, dialects=(CHAT,), modes=("whole",), needs=(lambda: why,)
    )  # fmt: skip


_PLAYED = (
    ("P-03", "killed under load", "process", "e2e/test_kill_trial.py"),
    ("P-04", "told to stop under calls", "process", "e2e/test_graceful_shutdown.py"),
    ("P-05", "told to stop twice, and signals that mean nothing", "process", "e2e/test_graceful_shutdown.py"),
    ("P-06", "files with mistakes, under calls", "process", "e2e/test_reload_of_a_process.py"),
    ("P-07", "other prices while calls run", "process", "e2e/test_reload_of_a_process.py"),
    ("P-09", "more clients than files", "process", "e2e/test_overload.py"),
    ("P-15", "journals of other versions", "process", "ledger/test_journal.py"),
    ("R-08", "Sentinel: the primary is killed", "redis", "contract/limits/test_sentinel_failover.py"),
    ("R-09", "Cluster: a primary is killed", "redis", "e2e/test_cluster_trial.py"),
    ("R-09", "Cluster: a slot moves", "redis", "contract/limits/test_cluster_slot_moves.py"),
    ("C-06", "bodies that are not as long as they say", "client", "server/http1/test_protocol.py"),
    ("C-07", "JSON that is deep, long or broken (C-08, C-10)", "client", "server/test_wrong_bodies.py"),
    ("C-09", "members that stand twice", "client", "server/test_wrong_bodies.py"),
    ("C-11", "too many headers, or too long", "client", "server/http1/test_protocol.py"),
    ("C-12", "requests in two readings", "client", "server/test_request_smuggling.py"),
    ("C-13", "heads and bodies that trickle", "client", "server/http1/test_protocol.py"),
    ("C-14", "no HTTP/1.1, and a hundred calls in one write", "client", "server/http1/test_protocol.py"),
    ("C-16", "bodies of another dialect", "client", "server/test_wrong_bodies.py"),
    ("C-18", "odd texts in every field", "client", "server/test_hostile.py"),
    ("C-03", "a client that reads nothing, or little", "client", "e2e/test_overload.py"),
    ("C-15", "a storm of connections", "client", "e2e/test_overload.py"),
    ("R-12", "clients leave within commands", "redis", "security/test_cache.py"),
)  # fmt: skip
"""Faults that a test of `make check` plays."""

ROWS: tuple[FaultRow, ...] = (
    *(_row(id, fault, family, f"tests/{file} plays it") for id, fault, family, file in _PLAYED),
    _row("P-16", "half an hour of mixed faults", "process", "make soak plays it"),
    _row("C-04", "a client whose packets vanish", "client", "no packets can be dropped here (nft or netem)"),
    _row("C-17", "requests that the OpenAPI document allows and forbids", "client", "make openapi plays it"),
)  # fmt: skip
