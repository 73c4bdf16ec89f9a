"""The measured share of every relation, beside its bound; exit status 1 if one exceeds it."""

import sys

from tests.metamorphic.relations import (
    RELATIONS,
    TRANSLATED,
    Moved,
    easy,
    measure,
    router,
    translated,
)


def main(times: int) -> int:
    shipped_router = router()
    texts = easy(shipped_router)
    name = shipped_router.classifier.version if shipped_router.classifier is not None else "none"
    print(f"{len(texts)} easy prompts in nine languages that get fast; classifier {name}")
    results = [
        (measure(shipped_router, relation, texts, times), relation.up, relation.reasoned)
        for relation in RELATIONS
    ]
    results += [(relation, TRANSLATED, TRANSLATED) for relation in translated(shipped_router)]
    print("\n".join(_line(relation, up) for relation, up, _ in results))
    return int(
        any(relation.up > up or relation.reasoned > reasoned for relation, up, reasoned in results)
    )


def _line(moved: Moved, bound: float) -> str:
    share = f"{moved.up:6.1%} of {moved.prompts} (at most {bound:.0%}), {moved.reasoned:.1%} to reasoning"
    return f"  {share}  {moved.name}{f': {moved.example[:50]!r}' if moved.example else ''}"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
