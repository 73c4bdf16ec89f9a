"""Compares everything that both gateways sent in one exchange."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.twin import diff
from tests.twin.exchanges.exchange import Observation, ProviderRequest, TwinExchange
from tests.twin.masks import Masks

_MOST_ALIKE = 3
"""Differences of one kind that are kept of one exchange."""
_FIGURES = "version=0.0.4"
"""The media type parameter of Prometheus' text format."""


@dataclass(frozen=True)
class TwinDifference:
    """One difference, in one place."""

    section: str
    exchange: str
    where: str
    """The bytes that differ: `client head`, `provider body`, `ledger final`, `redis cache` and so on."""
    what: str
    """The header, the member by its path, or the kind of difference; the same for all calls."""
    base: str
    tree: str

    @property
    def kind(self) -> tuple[str, str]:
        """The place and the kind, by which the report groups differences."""
        return self.where, self.what


type Parts = Mapping[str, str]
"""The masked bytes that one gateway sent in one exchange, by place."""


def parts(seen: Observation, masks: Masks, number: int, *, reaches_provider: bool = True) -> Parts:
    """Mask everything that a gateway sent in the exchange of a number."""
    masks.begin(str(number))
    masked = {
        "client status": masks.text(seen.status),
        "client head": masks.text(_without_length(b"\n".join(seen.head), seen.body)),
        "client body": _body(seen, masks, measured=not reaches_provider),
        "client end": seen.end,
    }
    for index, other in enumerate(seen.others):
        masked[f"client other {index}"] = masks.text(other)
    masked["provider requests"] = "\n".join(masks.text(sent.line) for sent in seen.sent)
    for index, sent in enumerate(seen.sent):
        masked[f"provider head {index}"] = _request_head(sent, masks)
        masked[f"provider body {index}"] = masks.text(sent.body)
    return masked


def _body(seen: Observation, masks: Masks, *, measured: bool) -> str:
    kind = seen.header("content-type") or ""
    if kind.startswith("text/csv") and seen.body:
        return masks.table(seen.body)
    text = masks.text(seen.body, measured=measured)
    # The order of series has no meaning: it is that in which the gateway met budgets.
    return "\n".join(sorted(text.splitlines())) if _FIGURES in kind else text


def _request_head(sent: ProviderRequest, masks: Masks) -> str:
    return masks.text(_without_length(sent.head.replace(b"\r\n", b"\n"), sent.body))


def _without_length(head: bytes, body: bytes) -> bytes:
    """Mask a length that is right: the body is compared itself, with its masks."""
    return re.sub(rb"(?mi)^(content-length: )%d$" % len(body), rb"\1<of the body>", head)


def differences(exchange: TwinExchange, base: Parts, tree: Parts) -> Iterator[TwinDifference]:
    """Compare the parts of both gateways."""
    for place in dict.fromkeys((*base, *tree)):
        if base.get(place) == tree.get(place):
            continue
        where = re.sub(r" \d+$", "", place)
        kinds: Counter[str] = Counter()
        for what, was, now in _part(where, base.get(place), tree.get(place)):
            kinds[what] += 1
            if kinds[what] <= _MOST_ALIKE:
                yield TwinDifference(exchange.section, exchange.name, where, what, was, now)


def _part(where: str, base: str | None, tree: str | None) -> diff.Diff:
    if base is None or tree is None:
        yield "is not there", diff.shorten(base), diff.shorten(tree)
    elif where.endswith("head"):
        yield from diff.headers(base.split("\n"), tree.split("\n"))
    elif where.endswith(("body", "other")):
        yield from diff.bodies(base, tree)
    else:
        yield "differs", diff.shorten(base), diff.shorten(tree)
