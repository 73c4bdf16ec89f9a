"""Charts are SVG that any XML parser accepts, with all figures of the report."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from random import Random

from gateway.evaluation import chart, evaluate, routed_labels
from gateway.evaluation.evaluate import ScoredLabels
from tests.evaluation import samples

SVG = "{http://www.w3.org/2000/svg}"


def parse_svg(drawn: str) -> ET.Element:
    return ET.fromstring(drawn)  # noqa: S314 - we wrote it


def views(*, priced: bool = True, classifier: bool = True) -> tuple[ScoredLabels, ...]:
    label_router = samples.make_label_router(priced=priced, classifier=classifier)
    labels = [
        *samples.outcomes(60), *samples.outcomes(40, ("fast", "smart", "reasoning"), seed=2)
    ]  # fmt: skip
    rows = [routed_labels.route_label(label_router, label) for label in labels]
    return evaluate.build_report(rows, Random(1), repeats=100).views


def lines(panel: ET.Element) -> Counter[str]:
    """Return how many lines of each style there are: in the legend, as curve, as interval."""
    return Counter(line.attrib["class"] for line in panel.iter(f"{SVG}polyline"))


def test_each_view_has_a_panel_with_its_curves_and_routers() -> None:
    drawn = chart.draw_curves(views())
    assert drawn is not None
    root = parse_svg(drawn)
    panels = root.findall(f"{SVG}g")
    assert len(panels) == 2
    for panel, number in zip(panels, (2, 3), strict=True):
        line_counts = lines(panel)
        assert (
            line_counts["line green"],
            line_counts["line grey dotted"],
            line_counts["line blue"],
        ) == (2, 2, 3)
        texts = [text.text or "" for text in panel.iter(f"{SVG}text")]
        assert {"this router", "shuffled", "always fast", "oracle", "tiers mixed by chance"} <= {
            *texts
        }
        assert sum(text.startswith("always ") for text in texts) == number
        tips = [title.text or "" for title in panel.iter(f"{SVG}title")]
        assert len(tips) == number + 2
        assert all("USD a thousand prompts" in tip for tip in tips)


def test_all_lines_and_texts_are_within_the_chart() -> None:
    drawn = chart.draw_curves(views())
    assert drawn is not None
    root = parse_svg(drawn)
    wide, high = float(root.attrib["width"]), 470.0
    for panel in root.findall(f"{SVG}g"):
        for line in panel.findall(f"{SVG}polyline"):
            for x, y in re.findall(r"([\d.]+),([\d.]+)", line.attrib["points"]):
                assert 0 <= float(x) <= wide
                assert 0 <= float(y) <= high
        for text in panel.iter(f"{SVG}text"):
            assert 0 <= float(text.attrib["x"]) <= wide
            assert 0 <= float(text.attrib["y"]) <= high


def test_the_chart_has_colours_for_light_and_dark() -> None:
    drawn = chart.draw_curves(views())
    assert drawn is not None
    assert "@media (prefers-color-scheme:dark)" in drawn
    for colours in (chart.LIGHT_COLOURS, chart.DARK_COLOURS):
        assert all(colour in drawn for colour in colours.values())


def test_views_without_prices_are_not_drawn() -> None:
    """The view of fast and smart has prices; that of all three has none."""
    drawn = chart.draw_curves(views(priced=False))
    assert drawn is not None
    assert len(parse_svg(drawn).findall(f"{SVG}g")) == 1
    assert chart.draw_curves(views(priced=False)[1:]) is None
    assert chart.draw_curves([]) is None


def test_without_a_classifier_the_chart_has_no_curve_of_one() -> None:
    drawn = chart.draw_curves(views(classifier=False)[:1])
    assert drawn is not None
    (panel,) = parse_svg(drawn).findall(f"{SVG}g")
    assert lines(panel)["line blue"] == 1  # the interval
    assert not [text for text in panel.iter(f"{SVG}text") if "classifier" in (text.text or "")]
