"""Measure the learned classifier per call: CPU of one core, on prompts and slow texts.

`python -m bench.scorer [FOLDER]`; FOLDER holds outcomes.parquet. The cost includes the signals,
which are read once, for rules too. Each text is scored several times and the quickest counts, so
that the load of a busy machine does not show.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.evaluation import labels
from gateway.evaluation.metrics.bootstrap import compute_quantile
from gateway.routing.classifier import model_file
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.scan import scan_text
from gateway.runtime.build import SHIPPED_MODEL

TRIES = 3
SLOW = {
    "spaces between single letters": "a b " * 800,
    "marks alone": "!?" * 1_600,
    "one word of 3,200 letters": "a" * 3_200,
    "numbers and marks": "1+2=3;" * 534,
    "no two words alike": " ".join(f"w{at}x" for at in range(600)),
    "Chinese": "证明根号二是无理数" * 360,
    "answer options": "\nA. 1\nB. 2\nC. 3" * 200,
    "code": "def f(x):\n    return [y for y in x if y]\n" * 80,
    "a megabyte of log": "2026-11-26 12:00:00 ERROR worker 7 died\n" * 25_000,
}


def cost(classifier: LearnedClassifier, text: str) -> float:
    """Return the microseconds of CPU for one text."""
    costs = []
    for _ in range(TRIES):
        start = time.thread_time()
        scan = scan_text(text)  # like a call: one scan serves the rules and the classifier
        classifier.score(text, scan.signals())
        costs.append(time.thread_time() - start)
    return min(costs) * 1e6


def line(name: str, costs: Sequence[float]) -> str:
    """Format the costs of several texts: the median, the 95th and 99th percentile, the maximum."""
    ordered = sorted(costs)
    shares = [compute_quantile(ordered, share) for share in (0.5, 0.95, 0.99, 1.0)]
    return f"{name}: {len(costs):,} texts, " + ", ".join(
        f"{word} {value:.0f} us"
        for word, value in zip(("median", "p95", "p99", "most"), shares, strict=True)
    )


def main(folder: str | None) -> None:
    """Print a line for each kind of text."""
    start = time.thread_time()
    classifier = LearnedClassifier(model_file.read(SHIPPED_MODEL.read_bytes()))
    print(f"read and built in {(time.thread_time() - start) * 1e3:.0f} ms")
    if folder is not None:
        prompts = [row.prompt for row in labels.read_labels(Path(folder) / "outcomes.parquet")][::7]
        print(line("all prompts", [cost(classifier, text) for text in prompts]))
        some = [text for text in prompts if 350 <= len(text) <= 450]
        print(line("of about 400 characters", [cost(classifier, text) for text in some]))
        long = [text for text in prompts if len(text) > 2_000]
        print(line("of more than 2,000", [cost(classifier, text) for text in long]))
    for name, text in SLOW.items():
        print(f"{name}: {cost(classifier, text):.0f} us")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
