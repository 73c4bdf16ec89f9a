"""The latest scan of a text, which the rules, the signals and the classifier share."""

from weakref import ref

from gateway.routing.classifier.text_signals import TextScan


def scan_text(text: str) -> TextScan:
    """Return the scan of a text: the latest scan if it is of this text and still in use."""
    global _latest_scan  # noqa: PLW0603 - callers that read the same text share one scan
    scan = _latest_scan()
    if scan is None or scan.text is not text:
        scan = TextScan(text)
        _latest_scan = ref(scan)
    return scan


_latest_scan = ref(TextScan(""))
