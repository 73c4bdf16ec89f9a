"""Test that refusals before a call begins are counted, and that a flood of them logs few lines."""

from gateway.server.admission import RefusalLog


def test_the_first_is_told_at_once_and_the_others_together() -> None:
    now = 0.0
    rows: list[dict[str, object]] = []
    refused = RefusalLog(
        lambda event, **fields: rows.append({"event": event, **fields}), clock=lambda: now
    )
    refused.flush()
    assert rows == []
    refused.note("invalid_api_key")
    for _ in range(1000):
        refused.note("invalid_api_key")
    refused.note("media_type")
    assert rows == [{"event": "refused", "invalid_api_key": 1}]
    now = 10.0
    refused.note("media_type")
    assert rows[1:] == [{"event": "refused", "invalid_api_key": 1000, "media_type": 2}]
    refused.note("loop")
    refused.flush()
    refused.flush()
    assert rows[2:] == [{"event": "refused", "loop": 1}]
