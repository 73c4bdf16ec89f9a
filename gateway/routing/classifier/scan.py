"""What has been looked at of a text: compiled where that is there and can, else in Python."""

from weakref import ref

from gateway.routing.classifier.native import text as kernel
from gateway.routing.classifier.text_signals import TextScan

type ScannedText = TextScan | kernel.NativeText


def scan_text(text: str) -> ScannedText:
    """At a text; where who looked at it last still has what was found, it is that."""
    global _last  # noqa: PLW0603 - one look serves the rules, the signals and the classifier
    scan = _last()
    if scan is None or scan.text is not text:
        scan = kernel.read(text) or TextScan(text)
        _last = ref(scan)
    return scan


_last: "ref[ScannedText]" = ref(TextScan(""))
