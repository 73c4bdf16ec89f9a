"""Test that refusals before a call begins are counted, and that a flood of them logs few lines."""

from gateway.server.admission import RefusalLog


def test_the_first_refusal_is_logged_at_once_and_the_others_together() -> None:
    now = 0.0
    rows: list[dict[str, object]] = []
    log = RefusalLog(
        lambda event, **fields: rows.append({"event": event, **fields}), clock=lambda: now
    )
    log.flush()
    assert rows == []
    log.note("invalid_api_key")
    for _ in range(1000):
        log.note("invalid_api_key")
    log.note("media_type")
    assert rows == [{"event": "refused", "invalid_api_key": 1}]
    now = 10.0
    log.note("media_type")
    assert rows[1:] == [{"event": "refused", "invalid_api_key": 1000, "media_type": 2}]
    log.note("loop")
    log.flush()
    log.flush()
    assert rows[2:] == [{"event": "refused", "loop": 1}]
