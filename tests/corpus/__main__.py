"""Law 3 over a folder of recorded exchanges, as counts and a list of failures.

    python -m tests.corpus [PATH]        or TIERGATE_CORPUS; exits with 1 if anything failed

PATH is a folder, or one file, such as a recording of `tiergate doctor --live`. A folder has
`recorded/*.jsonl.gz`, or such files alone. It may have an oracle and groups.
"""

import os
import sys
from pathlib import Path

from tests.corpus import groups, law3, mutations, over_http, translated_requests
from tests.corpus.oracle import Row, read_corpus
from tests.corpus.sdk_clients import KNOWS_GEMINI
from tests.corpus.verdict import Failure

NO_PATH = "name a folder or a file of recorded exchanges: make law3 CORPUS=PATH, or TIERGATE_CORPUS"


def main(arguments: list[str]) -> int:
    """Judge a folder or a file; return 1 if anything failed or cannot be read."""
    path = Path(arguments[0] if arguments else os.environ.get("TIERGATE_CORPUS") or "/dev/null")
    if not (path.is_dir() or path.is_file()):
        print(NO_PATH)
        return 1
    rows, unreadable = read_corpus(path)
    for place, why in unreadable.items():
        print(f"UNREADABLE {place}: {why}", flush=True)
    if not rows:
        print(f"no exchange of a dialect in {path}")
        return 1
    readers = "the official SDKs" if KNOWS_GEMINI else "the openai and anthropic SDKs"
    print(f"Answers: {len(rows)} exchanges, read by {readers} and by our own decoders\n")
    bad = len(unreadable) + _judge_answers(rows)
    number, failures = mutations.find_clean(rows, print_failure)
    print(f"\nBroken answers: {number} to clients of four dialects, {len(failures)} of them clean")
    bad += len(failures)
    judged, unasked, failures = over_http.judge_rows(rows, print_failure)
    print(
        f"\nOver HTTP: {judged} answers that end, by a gateway on a socket to official SDKs,"
        f" {len(failures)} failed; {unasked} that a client cannot ask for"
    )
    bad += len(failures) + _judge_requests(path, rows)
    print(f"\n{bad} failed")
    return 1 if bad else 0


def _judge_answers(rows: list[Row]) -> int:
    counts = law3.judge_answers(rows, print_failure)
    print("\n".join(law3.format_table(counts)))
    print("\nExceptions\n")
    reasons: dict[str, int] = {}
    for count in counts.values():
        for reason in count.exceptions.values():
            reasons[reason] = reasons.get(reason, 0) + 1
    print("\n".join(f"  {number:5}  {reason}" for reason, number in sorted(reasons.items())))
    return sum(len(count.failed) for count in counts.values())


def print_failure(failure: Failure) -> None:
    """Print a failure at once: a later one may crash the run."""
    print(
        f"FAILED answer {failure.file} {failure.id} to {failure.client}: {failure.text}", flush=True
    )


def _judge_requests(folder: Path, rows: list[Row]) -> int:
    bad = 0
    requests = translated_requests.translate_all(rows)
    print(f"\nRequests: {sum(row.request is not None for row in rows)} recorded\n")
    places = {row.id: row.file for row in rows}
    for (_, client), count in requests.items():
        for id, why in count.failed.items():
            print(f"FAILED request {places[id]} {id} in {client}: {why}", flush=True)
            bad += 1
    print("\n".join(translated_requests.format_table(requests)))
    if (folder / "parallel_groups.json").is_file():
        shapes = groups.judge_all(folder, rows)
        print("\nShapes of the same task in several dialects, against the sibling's recording\n")
        for (_, client), group_count in shapes.items():
            for name, why in group_count.failed.items():
                print(f"FAILED shape {name} in {client}: {why}", flush=True)
                bad += 1
        print("\n".join(groups.format_table(shapes)))
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
