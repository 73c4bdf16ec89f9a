"""Test SEC-SMUGGLE, C-12: no second request hides in one that a proxy may read in another way."""

from tests.hostile.smuggled import BODIES, CANARY, SHOWN, honest, mutations
from tests.server.gate import Gate, answers


def test_sec_smuggle_c_12_the_canary_is_never_answered(gate: Gate) -> None:
    """SEC-SMUGGLE, C-12: the gateway refuses an ambiguous request, and closes its connection.

    1,500 requests with wrong lengths, codings, names and chunks, each with a canary behind it.
    """
    statuses: dict[int, int] = {}
    failures = []
    for data, body in mutations(1500):
        reply = gate.exchange(data + CANARY) if not honest(data, body) else b""
        if not reply:
            continue
        first = answers(reply)[0].status
        statuses[first] = statuses.get(first, 0) + 1
        if first >= 500 or SHOWN in reply:
            failures.append((data, reply))
    assert not failures, (len(failures), failures[:3])
    assert sum(statuses.values()) >= 1000, statuses
    assert statuses.get(400, 0) > 0.9 * sum(statuses.values()), statuses
    assert set(statuses) <= {200, 400, 431}, statuses


def test_sec_smuggle_behind_a_valid_request_the_canary_is_answered(gate: Gate) -> None:
    """SEC-SMUGGLE: behind a valid request the canary is answered, so the test above can fail."""
    for path, body in BODIES.items():
        for lines, content in (
            (b"content-length: %d" % len(body), body),
            (b"transfer-encoding: chunked", b"%x\r\n%b\r\n0\r\nx: y\r\n\r\n" % (len(body), body)),
            (
                b"transfer-encoding: chunked",
                b"%x;%b\r\n%b\r\n0\r\n\r\n" % (len(body), b"a" * 999, body),
            ),
        ):
            data = (
                b"POST "
                + path
                + b" HTTP/1.1\r\nhost: localhost\r\n"
                + lines
                + b"\r\n\r\n"
                + content
            )
            first, second = answers(gate.exchange(data + CANARY))
            assert (first.status, SHOWN in second.body) == (200, True)
