"""The tables of pass-through endpoints that providers may name in their `endpoints`.

One file for each API. What no table has, no client reaches: endpoints that manage an organisation,
its members, its keys or its webhooks are in none. A provider that has all tables of an API names
the API: `openai` stands for every table whose name begins with `openai-`.
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

DECISION_TABLES = ("openai-decisions", "systemone")
"""The tables with an endpoint for decision models, each in its form; the preferred one first."""
APIS = tuple(dict.fromkeys(name.partition("-")[0] for name in TABLES if "-" in name))
"""The names that stand for all tables of an API."""


def select_tables(endpoints: Mapping[str, str]) -> dict[str, str]:
    """Return what a provider writes, with the tables of an API in place of its name.

    What stands there for one table goes before what stands for its API.
    """
    expanded = {
        name: url
        for api, url in endpoints.items()
        if api not in TABLES
        for name in TABLES
        if name.startswith(f"{api}-")
    }
    return expanded | {name: url for name, url in endpoints.items() if name in TABLES}
