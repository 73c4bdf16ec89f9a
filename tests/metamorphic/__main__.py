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
    known = router()
    texts = easy(known)
    name = known.classifier.version if known.classifier is not None else "none"
    print(f"{len(texts)} easy prompts in nine languages that get fast; classifier {name}")
    found = [(measure(known, one, texts, times), one.up, one.reasoned) for one in RELATIONS]
    found += [(one, TRANSLATED, TRANSLATED) for one in translated(known)]
    print("\n".join(_line(one, up) for one, up, _ in found))
    return int(any(one.up > up or one.reasoned > reasoned for one, up, reasoned in found))


def _line(one: Moved, bound: float) -> str:
    said = f"{one.up:6.1%} of {one.prompts} (at most {bound:.0%}), {one.reasoned:.1%} to reasoning"
    return f"  {said}  {one.name}{f': {one.example[:50]!r}' if one.example else ''}"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
