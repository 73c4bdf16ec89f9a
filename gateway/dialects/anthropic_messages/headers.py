"""Headers of the Messages API: those of a client that go on, and defaults of those left out.

Sources: Anthropic's API reference (versions, betas, workspaces) and Claude Code's gateway protocol,
which asks for every `anthropic-*` header to be forwarded.
"""

FORWARDED = frozenset(
    {
        b"anthropic-version", b"anthropic-beta", b"anthropic-workspace-id",
        b"anthropic-user-profile-id", b"anthropic-dangerous-direct-browser-access",
        b"x-claude-code-session-id", b"x-claude-code-agent-id", b"x-claude-code-parent-agent-id",
        b"x-anthropic-additional-protection",
    }
)  # fmt: skip
"""Names in lower case of client headers that mean something to providers of this dialect."""

DEFAULTS = {"anthropic-version": "2023-06-01"}
"""Sent where the client sends none: the API refuses a request without a version."""
