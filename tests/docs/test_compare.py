"""The page about other gateways claims only the speeds that the benchmark measured beside them."""

from tests.docs import pages

CLAIMED = {
    "litellm": ("less", "less"),
    "portkey": ("less", "less"),
    "ferrogw": ("less", "less"),
    "nginx": ("more", "more"),
}
"""Requests per CPU-second compared with this gateway: as a plain relay, and with everything on."""


def test_who_takes_more_cpu_for_a_request() -> None:
    (table,) = (
        one
        for one in pages.tables()
        if one.page == "performance.md" and one.head[1] == "requests/CPU-s"
    )
    found = {row[0]: float(row[1].split()[0].replace(",", "")) for row in table.rows}
    own = found["tiergate"], found["tiergate-full"]
    for name, claim in CLAIMED.items():
        assert tuple("less" if found[name] < mine else "more" for mine in own) == claim, name


def test_the_versions_are_those_that_were_measured() -> None:
    page = pages.ROOT / "docs/performance.md"
    text, said = page.read_text("utf-8"), (page.parent / "compare.md").read_text("utf-8")
    for name, title in (("litellm", "LiteLLM"), ("portkey", "Portkey"), ("ferrogw", "ferrogw")):
        version = text.split(f"{name} ", 1)[1].split(",")[0]
        assert f"**{title}** {version}" in said
