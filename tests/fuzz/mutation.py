"""Random changes of inputs by a seed: what pytest tries where no fuzzer is installed."""

import random
from collections.abc import Iterator, Sequence

_ODD = (
    b"\0",
    b"\r\n",
    b"\n\n",
    b"\\u0000",
    b"\xff",
    b"9" * 30,
    b"-1",
    b"1e999",
    b'"',
    b"{}",
    b"[]",
)


def mutate(
    inputs: Sequence[bytes], words: Sequence[bytes], count: int, seed: int, max_bytes: int
) -> Iterator[bytes]:
    """Yield `count` inputs with random changes. The same seed yields the same ones."""
    dice = random.Random(seed)
    pool = [*words, *_ODD]
    for _ in range(count):
        data = bytearray(dice.choice(inputs))
        for _ in range(dice.choice((1, 1, 2, 4))):
            start = dice.randint(0, len(data))
            end = min(len(data), start + dice.choice((0, 1, 1, 2, 8, 40)))
            match dice.randrange(5):
                case 0:
                    data[start:end] = dice.choice(pool)
                case 1:
                    data[start:end] = dice.randbytes(dice.randint(0, 3))
                case 2:
                    data[start:start] = data[start:end] * dice.choice((1, 1, 3))
                case 3:
                    del data[start:end]
                case _:
                    other = dice.choice(inputs)
                    cut = dice.randint(0, len(other))
                    data[start:end] = other[cut : cut + dice.choice((4, 20, 100))]
        yield bytes(data[:max_bytes])
