"""Clients that leave at any moment: one final row for each call, and no provider that goes on."""

from pathlib import Path

from tests.e2e.leave_trial import MOMENTS, UNREAD, trial


def test_each_call_has_one_final_row_when_clients_leave_at_random(tmp_path: Path) -> None:
    """Whole and streamed, with a reset or in good order; `make leave` is the long form.

    A request that was not read is no call. Every other one has one final row, and as many intents
    as attempts. A provider that had not ended sees its connection closed.
    """
    result = trial(tmp_path, 63, seed="1")
    assert result.wrong == []
    served_ids = set(result.served.values())
    counts = dict.fromkeys(MOMENTS, 0)
    for client in result.clients:
        counts[client.moment] += client.marker in served_ids
    assert all(counts[name] == (0 if name in UNREAD else 9) for name in MOMENTS if name != "sent")
    states = {entry.state for entries in result.entries.values() for entry in entries}
    assert {"settled", "aborted"} <= states <= {"settled", "aborted", "failed", "estimated"}
    assert len(result.left) > 5
