"""Test client headers that routing reads: reading them changes nothing that is sent on."""

from gateway.dialects import DIALECTS
from gateway.server.request_headers import RequestHeaders

SENT = [
    (b"user-agent", b"claude-cli/2.1.331"), (b"x-claude-code-session-id", b"s" * 500),
    (b"thread-id", b"t\xe9"), (b"cookie", b"c"), (b"accept", b"*/*"),
]  # fmt: skip


def test_hints_are_the_known_headers_cut_to_200_characters() -> None:
    headers = RequestHeaders(SENT)
    assert headers.hints == {
        "user-agent": "claude-cli/2.1.331", "x-claude-code-session-id": "s" * 200, "thread-id": "té",
    }  # fmt: skip
    assert RequestHeaders(SENT[3:]).hints == {}


def test_the_gateway_forwards_the_headers_of_a_dialect_unchanged() -> None:
    """The gateway forwards a header of the dialect whole, and keeps all other headers."""
    for dialect in DIALECTS.values():
        forwarded = RequestHeaders(
            SENT, dialect.forwarded_headers, dialect.default_headers
        ).forwarded
        listed = {
            name.decode(): value.decode()
            for name, value in SENT
            if name in dialect.forwarded_headers
        }
        assert forwarded == {**dialect.default_headers, **listed}
    assert (
        "x-claude-code-session-id"
        in RequestHeaders(SENT, DIALECTS["anthropic-messages"].forwarded_headers).forwarded
    )


def test_a_beta_header_in_several_lines_becomes_one_list() -> None:
    sent = [(b"anthropic-beta", b"one"), (b"anthropic-version", b"v"), (b"anthropic-beta", b"two")]
    dialect = DIALECTS["anthropic-messages"]
    forwarded = RequestHeaders(sent, dialect.forwarded_headers, dialect.default_headers).forwarded
    assert forwarded == {"anthropic-version": "v", "anthropic-beta": "one,two"}
