"""The tables of pass-through endpoints that providers may name in their `endpoints`.

One file for each API. What no table has, no client reaches: endpoints that manage an organisation,
its members, its keys or its webhooks are in none.
"""

from collections.abc import Mapping

from gateway.core.passthrough import PassThroughTable
from gateway.settings.passthrough import anthropic, gemini, hosts, openai, openai_storage

TABLES: Mapping[str, PassThroughTable] = {
    table.name: table
    for tables in (
        openai.TABLES,
        openai_storage.TABLES,
        anthropic.TABLES,
        gemini.TABLES,
        hosts.TABLES,
    )
    for table in tables
}
"""All tables by name."""
