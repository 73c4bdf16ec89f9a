"""Headers of a client that reach a provider of this dialect."""

from gateway.dialects.anthropic_messages import headers


def test_names_are_as_the_edge_reads_them() -> None:
    """In lower case, and none of them is a credential."""
    assert all(name == name.lower() for name in headers.FORWARDED)
    assert {b"anthropic-version", b"anthropic-beta"} <= headers.FORWARDED
    # A subagent of a subagent in Claude Code tells both; the other is a setting of its users.
    assert {b"x-claude-code-parent-agent-id", b"x-anthropic-additional-protection"} <= headers.FORWARDED  # fmt: skip
    assert headers.FORWARDED.isdisjoint({b"authorization", b"x-api-key"})
    assert {name.encode() for name in headers.DEFAULTS} <= headers.FORWARDED
