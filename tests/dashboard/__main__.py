"""Make pictures of the dashboard for the documents: `make screenshots`."""

import struct
import sys
import tempfile
import zlib
from pathlib import Path

from playwright.sync_api import Browser

from tests.dashboard.dashboard_gateway import DashboardGateway, secret
from tests.dashboard.sight import PHONE, Scheme, Sight, chromium

FOLDER = Path(__file__).parents[2] / "docs" / "dashboard"
LARGEST = 150_000
"""The most bytes that a picture may have."""
_HEAD = 8
_SHOTS: tuple[tuple[str, str, str, Scheme, tuple[int, int]], ...] = (
    ("overview-dark", "overview", "?range=7d&compare=before", "dark", (1280, 800)),
    ("overview-light", "overview", "?range=7d", "light", (1280, 860)),
    ("overview-phone", "overview", "?range=7d", "dark", PHONE),
    ("latency", "latency", "?range=24h", "light", (1280, 720)),
    ("targets", "targets", "", "dark", (1440, 640)),
    ("budgets", "budgets", "", "dark", (1280, 860)),
    ("calls", "calls", "", "dark", (1440, 640)),
    ("conversations", "calls", "?view=threads", "light", (1280, 640)),
    ("keys", "keys", "", "dark", (1280, 640)),
    ("usage", "usage", "", "light", (1280, 860)),
    ("playground", "playground", "", "light", (1280, 860)),
    ("rules", "rules", "", "dark", (1280, 860)),
    ("arms", "arms", "", "light", (1280, 860)),
    ("labels", "labels", "", "dark", (1280, 640)),
)


def main() -> int:
    """Take all pictures; return 1 if one is too large."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tiergate-screenshots-") as folder:
        stage = DashboardGateway(Path(folder) / "gateway", keys="sqlite:///keys.db")
        try:
            with chromium() as browser:
                sizes = [_take(browser, stage, *shot) for shot in _SHOTS]
        finally:
            stage.stop()
    return int(max(sizes) > LARGEST)


def _take(
    browser: Browser, stage: DashboardGateway, name: str, page: str, query: str, scheme: Scheme, size: tuple[int, int]
) -> int:  # fmt: skip
    sight = Sight(browser, stage.url, scheme=scheme, size=size, refused=True)
    if page == "usage":
        sight.page.goto(f"{sight.url}/usage")
        sight.page.get_by_label("Key of this gateway").fill(secret("chat-app"))
        sight.page.get_by_role("button", name="Show").click()
        sight.page.locator("#day-table tbody tr").first.wait_for()
    else:
        sight.enter()
        sight.show(page, query)
    if page == "playground":
        sight.page.fill("#key", secret("chat-app"))
        sight.page.fill(".turn textarea", "Prove that there are infinitely many primes.")
        sight.page.get_by_role("button", name="Decide").click()
        sight.page.locator(".card > .pairs").last.wait_for()
    if name == "conversations":
        sight.page.locator(".threads summary").first.click()
        sight.page.locator(".thread li").first.wait_for()
    if page == "budgets":
        sight.page.get_by_text("How it burns down").first.click()
        sight.page.locator("canvas").first.wait_for()
        sight.page.wait_for_load_state("networkidle")
        sight.page.evaluate("scrollTo(0, 0)")
    file = FOLDER / f"{name}.png"
    file.write_bytes(packed(sight.page.screenshot()))
    sight.close()
    count = file.stat().st_size
    sys.stdout.write(f"{file.name}: {count:,} bytes\n")
    return count


def packed(data: bytes) -> bytes:
    """Compress a picture again, without loss: browsers compress in haste."""
    head, body, at = data[:_HEAD], b"", _HEAD
    parts: list[tuple[bytes, bytes]] = []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            body += content
        elif kind in (b"IHDR", b"PLTE", b"tRNS"):
            parts.append((kind, content))
        at += length + 12
    made = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    small = made.compress(zlib.decompress(body)) + made.flush()
    parts += [(b"IDAT", min(small, body, key=len)), (b"IEND", b"")]
    return head + b"".join(_chunk(kind, content) for kind, content in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    whole = kind + content
    return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))


if __name__ == "__main__":
    sys.exit(main())
