"""The policy of the response cache: which calls it serves.

The cache looks these calls up and stores their answers. Equal calls at the same time share one
upstream call.
"""

import msgspec

from gateway.core.call import CacheMode, Call
from gateway.core.decision import Decision
from gateway.core.prompt import Prompt
from gateway.dialects.embeddings import OPERATION as EMBEDDINGS

_TOOL_MEMBERS = frozenset({"tools", "functions"})
"""Members that offer tools, in any dialect."""


class CachePolicy(msgspec.Struct, frozen=True):
    """The calls that the cache serves, by the configuration.

    `mode` applies to each call for which no header, guard or key sets a mode. `sampled` is True if
    the cache also serves calls at a temperature above 0.
    """

    mode: CacheMode = "deterministic"
    sampled: bool = False

    def serves(self, call: Call, prompt: Prompt, decision: Decision) -> bool:
        """Return True if the cache serves a call. docs/cache.md has the table."""
        header = call.options.cache
        if (
            header == "off"
            or decision.no_cache
            or prompt.choices > 1
            or prompt.stored
            or prompt.hosted_tools
            or (prompt.sampled and not self.sampled)
        ):
            return False
        if header in ("on", "refresh") or decision.cache:
            return True
        mode = call.key.cache or self.mode
        if mode != "deterministic":
            return mode == "on" or (mode == "embeddings" and call.operation == EMBEDDINGS)
        return call.operation == EMBEDDINGS or (
            prompt.zero_temperature
            and call.operation == "generate"
            and not prompt.tools
            and _TOOL_MEMBERS.isdisjoint(prompt.members)
        )
