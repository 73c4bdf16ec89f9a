"""Headers of a client that reach a provider of this dialect."""

from gateway.dialects.anthropic_messages import headers


def test_names_are_as_the_edge_reads_them() -> None:
    """In lower case, and none of them is a credential."""
    assert all(name == name.lower() for name in headers.FORWARDED)
    assert {b"anthropic-version", b"anthropic-beta"} <= headers.FORWARDED
    assert headers.FORWARDED.isdisjoint({b"authorization", b"x-api-key"})
    assert {name.encode() for name in headers.DEFAULTS} <= headers.FORWARDED
