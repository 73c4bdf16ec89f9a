"""Make the tables of docs/endpoints.md from the tables of endpoints and the shipped configuration.

`python -m tests.docs.endpoints` writes them anew.
"""

from collections.abc import Iterator, Mapping

from gateway.core.passthrough import PassThroughEndpoint, PassThroughTable
from gateway.settings.passthrough import TABLES, select_tables
from tests.config import shipped
from tests.docs.pages import ROOT
from tests.drift.endpoint_decisions import REFUSED
from tests.drift.search import SDKS

PAGE = ROOT / "docs" / "endpoints.md"
_BEGIN, _END = "<!-- tables -->\n", "<!-- end of tables -->\n"
_HEADINGS = {
    "openai": "OpenAI's API",
    "anthropic": "Anthropic's API",
    "gemini": "The Gemini API",
    "": "Others",
}
"""Headings by the API that the name of a table begins with."""
_BILLED_BY = {"free": "", "job": "the job, at its end", "unknown": "unknown"}


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    parts = [*_make_tables(), _make_refusals()]
    return f"{before}{_BEGIN}\n{'\n'.join(parts)}\n{_END}{after}"


def _make_tables() -> Iterator[str]:
    providers = _list_providers()
    apis: dict[str, list[PassThroughTable]] = {api: [] for api in _HEADINGS}
    for name, table in TABLES.items():
        api = name.partition("-")[0]
        apis[api if api in _HEADINGS else ""].append(table)
    for api, tables in apis.items():
        lines = [f"### {_HEADINGS[api]}\n"]
        for table in tables:
            names = ", ".join(providers.get(table.name, ())) or "none that ships"
            lines += [f"`{table.name}`: {names}\n", "| endpoint | request | billed by |"]
            lines += ["|---|---|---|", *(_make_row(table, item) for item in table.endpoints), ""]
        yield "\n".join(lines)


def _make_row(table: PassThroughTable, endpoint: PassThroughEndpoint) -> str:
    request = f"{endpoint.method} {table.prefix}{endpoint.path}"
    return f"| `{endpoint.name}` | `{request}` | {_tell_billing(endpoint)} |"


def _tell_billing(endpoint: PassThroughEndpoint) -> str:
    match endpoint.billing:
        case "usage":
            return f"token, or {endpoint.unit}" if endpoint.unit else "token"
        case "units":
            return endpoint.unit
        case billing:
            return _BILLED_BY[billing]


def _list_providers() -> Mapping[str, list[str]]:
    """Return the shipped providers that have each table."""
    providers: dict[str, list[str]] = {}
    for name, part in sorted(shipped.source(shipped.ALL_SET).config.providers.items()):
        for table in select_tables(part.endpoints):
            providers.setdefault(table, []).append(name)
    return providers


def _make_refusals() -> str:
    reasons: dict[str, dict[str, list[str]]] = {}
    for sdk in SDKS:
        for pattern, reason in REFUSED[sdk].items():
            path = pattern.removeprefix("* ").replace("{}", "ID")
            reasons.setdefault(reason, {}).setdefault(sdk, []).append(f"`{path}`")
    lines = ["### Refused\n", "| endpoints | SDK | why the gateway does not serve them |"]
    lines.append("|---|---|---|")
    for reason, paths in reasons.items():
        for sdk, patterns in paths.items():
            lines.append(f"| {', '.join(patterns)} | {sdk} | {reason} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
