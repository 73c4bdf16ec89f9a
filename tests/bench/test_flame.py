"""A flame graph shows each function as wide as its share of the samples, above its caller."""

from xml.etree import ElementTree as ET

from bench import flame_graph

SVG = "{http://www.w3.org/2000/svg}"


def boxes(drawn: str) -> dict[str, tuple[float, ...]]:
    """Return left, top and width of each box, by its title."""
    rects = ET.fromstring(drawn).iter(f"{SVG}rect")  # noqa: S314 - drawn here
    titles = [(rect.findtext(f"{SVG}title"), rect.attrib) for rect in rects]
    return {
        name: tuple(float(at[key]) for key in ("x", "y", "width")) for name, at in titles if name
    }


def test_a_box_is_as_wide_as_its_share_and_stands_on_its_caller() -> None:
    outer, left, right = "server/wire.py:go", "pipeline/engine.py:a", "upstream/run.py:b"
    drawn_boxes = boxes(
        flame_graph.draw([(outer, left)] * 3 + [(outer, right)] + [(outer,)] * 4, "t")
    )
    whole = flame_graph.WIDTH - 2 * flame_graph.MARGIN
    assert {name.rpartition(" ")[0] for name in drawn_boxes} == {outer, left, right}
    (x, y, width), left_box, right_box = (drawn_boxes[f"{name} {part}"] for name, part in ((outer, "100.0%"), (left, "37.5%"), (right, "12.5%")))  # fmt: skip
    assert (x, width) == (flame_graph.MARGIN, whole)
    assert left_box == (x, y - flame_graph.ROW, whole * 3 / 8)
    assert right_box[:2] == (x + left_box[2], y - flame_graph.ROW)


def test_a_box_too_narrow_to_read_is_left_out() -> None:
    drawn_boxes = boxes(
        flame_graph.draw([("a.py:often",)] * 999 + [("b.py:once", "c.py:inner")], "t")
    )
    assert list(drawn_boxes) == ["a.py:often 99.9%"]


def test_function_names_are_escaped_text() -> None:
    drawn = flame_graph.draw([("a.py:f.<locals>.<lambda>",)], "<b> & c")
    assert "<lambda>" not in drawn
    assert "&lt;b&gt; &amp; c" in drawn
    assert boxes(drawn)


def test_without_samples_the_graph_is_empty() -> None:
    assert boxes(flame_graph.draw([], "t")) == {}
