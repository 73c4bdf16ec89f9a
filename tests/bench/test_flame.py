"""A flame graph shows each function as wide as its share of the samples, above its caller."""

from xml.etree import ElementTree as ET

from bench import flame

SVG = "{http://www.w3.org/2000/svg}"


def boxes(drawn: str) -> dict[str, tuple[float, ...]]:
    """Return left, top and width of each box, by its title."""
    rects = ET.fromstring(drawn).iter(f"{SVG}rect")  # noqa: S314 - drawn here
    told = [(one.findtext(f"{SVG}title"), one.attrib) for one in rects]
    return {name: tuple(float(at[key]) for key in ("x", "y", "width")) for name, at in told if name}


def test_a_box_is_as_wide_as_its_share_and_stands_on_its_caller() -> None:
    outer, left, right = "server/wire.py:go", "pipeline/engine.py:a", "upstream/run.py:b"
    found = boxes(flame.draw([(outer, left)] * 3 + [(outer, right)] + [(outer,)] * 4, "t"))
    whole = flame.WIDTH - 2 * flame.MARGIN
    assert {name.rpartition(" ")[0] for name in found} == {outer, left, right}
    (x, y, width), one, other = (found[f"{name} {part}"] for name, part in ((outer, "100.0%"), (left, "37.5%"), (right, "12.5%")))  # fmt: skip
    assert (x, width) == (flame.MARGIN, whole)
    assert one == (x, y - flame.ROW, whole * 3 / 8)
    assert other[:2] == (x + one[2], y - flame.ROW)


def test_what_nobody_can_read_is_left_out() -> None:
    found = boxes(flame.draw([("a.py:often",)] * 999 + [("b.py:once", "c.py:inner")], "t"))
    assert list(found) == ["a.py:often 99.9%"]


def test_names_are_text_and_nothing_else() -> None:
    drawn = flame.draw([("a.py:f.<locals>.<lambda>",)], "<b> & c")
    assert "<lambda>" not in drawn
    assert "&lt;b&gt; &amp; c" in drawn
    assert boxes(drawn)


def test_nothing_is_drawn_of_nothing() -> None:
    assert boxes(flame.draw([], "t")) == {}
