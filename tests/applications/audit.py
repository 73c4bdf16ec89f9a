"""Checks of answers, money, states and secrets after a mix, by the provider's own bill."""

import re
import traceback
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from tests.applications.apps.application import Application
from tests.applications.process import TENANTS, Gateway, Row
from tests.applications.provider.faults import Fault
from tests.applications.provider.hosts import SECRETS
from tests.applications.provider.provider import TOKEN, Charge
from tests.applications.provider.requests import latest_ref
from tests.e2e.recording_proxy import Exchange

_MODEL_IN_PATH = re.compile(r"/models/([^/:?]+(?:/[^/:?]+)*):")
_OWNERS = {
    r"(gpt-|o\d|chatgpt-|text-embedding-).*": "openai", r"claude-.*": "anthropic", r"gemini-.*": "gemini",
    r"deepseek-.*": "deepseek", r"ollama/.*": "ollama",
}  # fmt: skip
"""The host that owns a real model name, by pattern of the name."""
_VIRTUAL = "claude-auto"
_KNOWN_STATES = ("settled", "cache_hit", "refused")
_MICRO_USD = Decimal("0.000001")
"""What a budget may count more for a call: it rounds up."""
_ENDS = (b"data: [DONE]", b'"type":"message_stop"', b'"type":"response.completed"', b'"finishReason"')  # fmt: skip


@dataclass(frozen=True)
class AuditedCall:
    """One request of a client, with its row in the ledger and its answer's place in the provider's bill."""

    exchange: Exchange
    row: Row | None
    """None if the client left before it got the call's id."""
    charge: Charge | None
    """None if no part of an answer reached the client, and for vectors."""

    @property
    def ref(self) -> str:
        return latest_ref(self.exchange.request.body.decode())

    @property
    def hit(self) -> bool:
        """True if the gateway says that the answer came from its cache."""
        return self.exchange.headers.get("x-tiergate-cache") == "hit"

    @property
    def model(self) -> str:
        """The model name that the client asked for."""
        in_path = _MODEL_IN_PATH.search(self.exchange.request.path)
        return in_path[1] if in_path else str(orjson.loads(self.exchange.request.body)["model"])

    @property
    def ended(self) -> bool:
        """True if the client got an answer that looks whole."""
        if self.exchange.status != 200 or not self.exchange.whole:
            return False
        streamed = "event-stream" in self.exchange.headers.get("content-type", "")
        return not streamed or any(end in self.exchange.body.replace(b'": "', b'":"') for end in _ENDS)  # fmt: skip


def audit(gateway: Gateway) -> list[str]:
    """List all that is wrong with the work of a gateway and its applications so far."""
    applications = gateway.applications
    exchanges = gateway.exchanges()
    rows = gateway.rows(len(exchanges))
    by_token = {charge.token: charge for charge in gateway.provider.charges}
    calls = [_call(exchange, rows, by_token) for exchange in exchanges]
    wrong = [f"misdirected: {failure}" for failure in gateway.provider.failures]
    wrong += [f"{it.name}: {_where(it.error)}" for it in applications if it.error is not None]
    wrong += _heard(applications, by_token)
    wrong += _rows(calls, rows)
    wrong += _fresh(calls)
    wrong += _tenants(gateway, calls)
    left = {ref for it in applications for ref in it.left}
    for call in calls:
        wrong += [f"{call.ref} ({call.model}): {what}" for what in _judge(call, left)]
    sent = sum(row["attempts"] for row in rows.values())
    if sent != gateway.provider.arrived:
        wrong.append(f"the ledger has {sent} attempts, the provider {gateway.provider.arrived}")
    shown = b"".join(gateway.tap.answered())
    wrong += [f"a client was shown {secret}" for secret in SECRETS if secret.encode() in shown]
    return wrong


def _where(error: Exception) -> str:
    """Describe an error, with the line of the application that raised it."""
    here = [
        frame for frame in traceback.extract_tb(error.__traceback__) if "/apps/" in frame.filename
    ]
    return f"{error!r} at `{here[-1].line}`" if here else repr(error)


def _call(exchange: Exchange, rows: dict[str, Row], by_token: dict[str, Charge]) -> AuditedCall:
    tokens = set(TOKEN.findall(exchange.body.decode("utf-8", "replace")))
    charge = by_token.get(tokens.pop()) if len(tokens) == 1 else None
    return AuditedCall(exchange, rows.get(exchange.headers.get("x-request-id", "")), charge)


def _heard(applications: Iterable[Application], by_token: dict[str, Charge]) -> Iterator[str]:
    """Check that SDKs returned, to the letter, the provider's answers of their turns."""
    for application in applications:
        for heard in application.heard:
            token = TOKEN.search(heard.text)
            charge = by_token.get(token[0]) if token else None
            if charge is None or charge.ref != heard.ref:
                yield f"{heard.ref} heard what answers {charge and charge.ref}: {heard.text!r}"
            elif charge.text != heard.text:
                yield f"{heard.ref} heard {heard.text!r}, the provider said {charge.text!r}"
            elif charge.fault not in (None, Fault.SLOW):
                yield f"{heard.ref} heard an answer that was to fail by {charge.fault}"


def _rows(calls: Iterable[AuditedCall], rows: dict[str, Row]) -> Iterator[str]:
    """Check that each call has one row, and each row a call."""
    ids = Counter(call.row["id"] for call in calls if call.row is not None)
    yield from (f"{many} calls have the row {id}" for id, many in ids.items() if many > 1)
    lost = [call for call in calls if call.row is None]
    spare = [row for id, row in rows.items() if id not in ids]
    if len(lost) != len(spare):
        yield f"{len(lost)} calls without a row, {len(spare)} rows without a call"
    yield from (f"{it.ref}: {it.exchange.status} without a row" for it in lost if it.exchange.status)  # fmt: skip


def _fresh(calls: Iterable[AuditedCall]) -> Iterator[str]:
    """Check that no answer comes twice, unless as a hit of the cache for the same key."""
    first: dict[str, AuditedCall] = {}
    for call in sorted(calls, key=lambda it: it.hit):
        if call.charge is None:
            continue
        before = first.setdefault(call.charge.token, call)
        if before is not call and not call.hit:
            yield f"{call.ref} got the answer of {before.ref} again"
        if _key(before) != _key(call):
            yield f"{call.ref} got the answer of another key"


def _tenants(gateway: Gateway, calls: Iterable[AuditedCall]) -> Iterator[str]:
    """Check that rows, costs, budgets and end users are of the tenant whose key a client sent."""
    if gateway.keys != tuple(TENANTS.values()):
        return
    owners = {secret: tenant for tenant, secret in TENANTS.items()}
    users: dict[str, str] = {}
    for call in calls:
        if call.row is None:
            continue
        owner, row = owners[(_key(call) or "").removeprefix("Bearer ")], call.row
        if row["tenant"] != owner:
            yield f"{call.ref} of {owner} has a row of {row['tenant']}"
        if row["end_user"] and users.setdefault(row["end_user"], owner) != owner:
            yield f"{owner} and {users[row['end_user']]} have one end user"  # each names END_USER
    if len(users) != len(set(users.values())):
        yield f"END_USER is several people of one tenant: {users}"
    rows = gateway.rows(0).values()
    sums = gateway.ask("/admin/costs?by=tenant").json()["groups"]
    budgets = gateway.ask("/admin/budgets").json()["budgets"]
    for tenant in TENANTS:
        own = [row for row in rows if row["tenant"] == tenant]
        cost = sum((Decimal(row["cost"] or 0) for row in own), Decimal(0))
        told = [Decimal(group["cost"]) for group in sums if group["tenant"] == tenant]
        if sum(told) != cost:
            yield f"/admin/costs has {told} of {tenant}, its rows {cost}"
        (used,) = (Decimal(budget["used"]) for budget in budgets if budget["tenant"] == tenant)
        # A call whose cost nobody knows stays charged with what was reserved for it.
        is_known = all(row["attempts"] <= 1 and row["state"] in _KNOWN_STATES for row in own)
        if used < cost or (is_known and used > cost + len(own) * _MICRO_USD):
            yield f"the budget of {tenant} has counted {used}, its rows {cost}"


def _key(call: AuditedCall) -> str | None:
    names = ("authorization", "x-api-key", "x-goog-api-key")
    return next((value for name in names if (value := call.exchange.request.header(name))), None)


def _judge(call: AuditedCall, left: Container[str]) -> Iterator[str]:
    row, charge, exchange = call.row, call.charge, call.exchange
    if row is None:
        return
    state = row["state"]
    if call.ended and state not in ("settled", "estimated", "cache_hit"):
        yield f"a whole answer is told as {state}"
    # A client that leaves may have been sent all of it.
    if not call.ended and state not in ("failed", "aborted", "refused") and call.ref not in left:
        yield f"{exchange.status} that did not end is told as {state}"
    if call.hit != (state == "cache_hit"):
        yield f"{state} with x-tiergate-cache: {exchange.headers.get('x-tiergate-cache')}"
    if exchange.status == 200 and row["aborted_by"] == "upstream" and call.ended:
        yield "what the provider cut looks whole"
    if charge is not None and exchange.status == 200:
        yield from _destination(call, charge, row)
    if charge is not None and call.ended:
        yield from _bill(call, charge, row)
    if charge is not None and state == "aborted":
        yield from _aborted(call, charge, row, left)


def _aborted(call: AuditedCall, charge: Charge, row: Row, left: Container[str]) -> Iterator[str]:
    """Check that a broken answer names who broke it, and costs the bill or an honest estimate."""
    by = "client" if call.ref in left and charge.fault is not Fault.CUT else "upstream"
    if row["aborted_by"] != by:
        yield f"aborted by {row['aborted_by']}, not {by}"
    if charge.usd is None:
        return
    if row["cost"] is None:
        yield "an answer that broke off has no cost"
    elif Decimal(row["cost"]) != charge.usd and not Decimal(row["estimate"] or 0):
        yield f"cost {row['cost']}, which no estimate explains; billed {charge.usd}"


def _destination(call: AuditedCall, charge: Charge, row: Row) -> Iterator[str]:
    """Check that the answer is of this request, from the host and model that the client named."""
    if charge.ref != call.ref:
        yield f"the answer of {charge.ref}"
    if (row["provider"], row["model"]) != (charge.host, charge.model):
        yield f"the row names {row['provider']}/{row['model']}, the provider {charge.host}/{charge.model}"  # fmt: skip
    for pattern, host in _OWNERS.items():
        if call.model != _VIRTUAL and re.fullmatch(pattern, call.model):
            name = call.model.removeprefix("ollama/")
            if (charge.host.removesuffix("-chat"), charge.model) != (host, name):
                yield f"answered by {charge.host}/{charge.model}"


def _bill(call: AuditedCall, charge: Charge, row: Row) -> Iterator[str]:
    """Check that the ledger and the provider agree on money and tokens."""
    cost = None if row["cost"] is None else Decimal(row["cost"])
    if call.hit:
        if cost != 0:
            yield f"a hit costs {cost}"
        return
    if row["usage"] != "provider":
        yield f"the provider told its usage, the row has {row['usage']}"
        return
    if cost != charge.usd:
        yield f"cost {cost}, billed {charge.usd} for {charge.tokens}"
    cost_header = call.exchange.headers.get("x-tiergate-cost")
    if cost_header is not None and Decimal(cost_header) != cost:
        yield f"x-tiergate-cost {cost_header}, cost {cost}"
    tokens = charge.tokens
    assert tokens is not None
    had: dict[str, Any] = {name: row[name] or 0 for name in ("input", "cache_read", "cache_write")}
    if had != {"input": tokens.fresh, "cache_read": tokens.read, "cache_write": tokens.write}:
        yield f"the row has {had}, the provider {tokens}"
    if row["output"] + (row["reasoning"] or 0) != tokens.output:
        yield f"the row has {row['output']} + {row['reasoning']} of output, the provider {tokens}"
