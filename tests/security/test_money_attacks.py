"""One key tries to spend more than its budget through endpoints that bill units, files or jobs."""

import re
from decimal import Decimal
from typing import Any

import pytest

from gateway.core import jsonio
from tests.e2e.upstream import Answer, Request, Upstream
from tests.e2e.world import Config, Make
from tests.security.shared_account import Site, answer, make_site

type Json = dict[str, Any]

BUDGET = Decimal("0.1")
LOW, HIGH = Decimal("0.04"), Decimal("0.2")
"""USD of an image, by its quality."""
_FIELD = re.compile(rb'name="([^"]+)"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n')


def price_images(value: Config) -> None:
    """Price images by their quality, and give all calls a hard budget."""
    prices = {"image": str(LOW), "image low": str(LOW), "image high": str(HIGH)}
    value["models"]["draw-1"] = {"price": {"units": prices, "as_of": "2026-11-24"}}
    value["budgets"] = [{"name": "all", "usd": str(BUDGET), "every": "day"}]


class Painter:
    """A provider that reads requests as kindly as it can, and bills what it makes."""

    def __init__(self, upstream: Upstream) -> None:
        self.billed = Decimal(0)
        upstream.on("/acme/images", self.paint)

    def paint(self, request: Request) -> Answer:
        """Make as many images as the request may mean, in the quality that it leaves open."""
        if (request.header("content-type") or "").startswith("multipart/"):
            value: Json = {
                name.decode(): text.decode() for name, text in _FIELD.findall(request.body)
            }
        else:
            value = request.json
        count = value.get("n", value.get("n[]"))
        while isinstance(count, list):
            count = count[-1]
        try:
            number = max(1, int(float(str(count).strip().replace("_", ""))))
        except ValueError:
            number = 1
        quality = value.get("quality")
        made = "low" if quality == "low" else "high"
        self.billed += number * (LOW if made == "low" else HIGH)
        return answer({"data": [{"b64_json": "aGk="}] * number, "quality": made})


def spend(site: Site, **request: Any) -> None:
    """Send a request again and again, until the gateway refuses it."""
    for _ in range(5):
        if site.ask("POST", "/v1/images/edits" if "files" in request else "/v1/images/generations", **request).status_code != 200:  # fmt: skip
            break


COUNTS = ["10", "10 ", " 10", "1_0", "+10", "1e1", "10.0", "0010", "\u0661\u0660", '"10"', "[10]", "[1, 10]", "-1", "0"]  # fmt: skip


@pytest.mark.parametrize("count", COUNTS)
def test_no_way_to_write_a_number_gets_more_images_than_are_paid(
    make: Make, upstream: Upstream, count: str
) -> None:
    """In JSON as a number and as a text, and in a form."""
    painter = Painter(upstream)
    quoted = jsonio.dumps(count.strip('"')).decode()
    for body in (
        f'{{"model": "draw-1", "prompt": "x", "quality": "low", "n": {quoted}}}',
        f'{{"model": "draw-1", "prompt": "x", "quality": "low", "n": {count}}}',
        f'{{"model": "draw-1", "prompt": "x", "quality": "low", "n": 1, "n": {quoted}}}',
        f'{{"model": "draw-1", "prompt": "x", "quality": "low", "n": {quoted}, "n": 1}}',
        f'{{"model": "draw-1", "prompt": "x", "quality": "low", "n": [{quoted}]}}',
    ):
        site = make_site(make, upstream, price_images)
        painter.billed = Decimal(0)
        upstream.on("/acme/images", painter.paint)
        spend(site, content=body.encode(), headers={"content-type": "application/json"})
        assert painter.billed <= BUDGET, body
        site.world.close()


@pytest.mark.parametrize(
    "fields",
    [
        {"n": "10"}, {"n": "10 "}, {"n": ["1", "10"]}, {"n": ["10", "1"]}, {"n[]": "10"}, {"n[0]": "10"}, {"N": "10"},
        {"n ": "10"}, {"n": "1_0"}, {"n": "\t10"},
    ],
)  # fmt: skip
def test_no_form_gets_more_images_than_are_paid(
    make: Make, upstream: Upstream, fields: Json
) -> None:
    """The same in forms, whose fields may also be there twice or in brackets."""
    painter = Painter(upstream)
    site = make_site(make, upstream, price_images)
    upstream.on("/acme/images", painter.paint)
    plain = {"model": "draw-1", "prompt": "x", "quality": "low"}
    assert site.ask("POST", "/v1/images/generations", json=plain).status_code == 200
    assert painter.billed == LOW
    data = {**plain, **fields}
    spend(site, data=data, files={"image": ("a.png", b"x")})
    assert painter.billed <= BUDGET


@pytest.mark.parametrize("quality", [{}, {"quality": "auto"}, {"quality": None}, {"quality": ["high"]}, {"quality": "HIGH "}])  # fmt: skip
def test_what_a_request_leaves_open_is_reserved_at_its_dearest(
    make: Make, upstream: Upstream, quality: Json
) -> None:
    """The provider chooses the best quality; the budget has room for a low one alone."""
    painter = Painter(upstream)
    site = make_site(make, upstream, price_images)
    upstream.on("/acme/images", painter.paint)
    spend(site, json={"model": "draw-1", "prompt": "x", **quality})
    assert painter.billed <= BUDGET


@pytest.mark.parametrize("url", ["/v1/images/generations", "/v1/images/edits", "/v1/videos", "/v1/responses"])  # fmt: skip
def test_no_batch_makes_images_for_nothing(make: Make, upstream: Upstream, url: str) -> None:
    """Its file bounds tokens; a price by the image has no bound there."""
    site = make_site(make, upstream, price_images)
    body = {"model": "draw-1", "prompt": "x", "n": 10, "max_output_tokens": 1}
    line = {"custom_id": "1", "method": "POST", "url": url, "body": body}
    file = {"file": ("a.jsonl", jsonio.dumps(line))}
    made = site.ask("POST", "/v1/files", files=file, data={"purpose": "batch"})
    batch = {"input_file_id": made.json()["id"], "endpoint": url, "completion_window": "24h"}
    refused = site.ask("POST", "/v1/batches", json=batch)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "budget_unbounded")
    assert site.sent[-1].path == "/acme/files"
