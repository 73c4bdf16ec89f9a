"""Names that lead out of a folder if a program makes a path of them. The same every time."""

import functools
import itertools
import random

_STEPS = (
    "../", "..\\", "%2e%2e/", "%2e%2e%2f", "..%2f", "..%5c", "%252e%252e%252f", "..%c0%af", "..;/", "....//", "..//", "./../",
    "..\u2215", "\uff0e\uff0e/", "\u2025/", ".%00./", "..\0/", "%u002e%u002e/", "/", "//", "///", "\\\\", "file:///", "file:",
    "C:\\", "~/", "~root/", "/proc/self/root/", "/dev/fd/0/../../../../", "a/../../../../", "models/../../",
)  # fmt: skip
_ENDS = (
    "etc/passwd", "etc/passwd\0.json", "etc/passwd%00", "etc/passwd#", "etc/passwd?x", "etc//passwd", "etc/./passwd",
    "proc/self/environ", "proc/self/cmdline", "proc/self/fd/1", "proc/self/mem", "dev/null", "dev/stdin", "root/.ssh/id_rsa",
    ".env", "data/secret", "secret", "gateway.yaml", "ledger.db", "windows\\win.ini", "con", "nul", "aux.json", "",
)  # fmt: skip


@functools.cache
def paths(number: int) -> tuple[str, ...]:
    """Return `number` names."""
    names = [step * times + end for step, end, times in itertools.product(_STEPS, _ENDS, (1, 3, 8))]
    random.Random(22).shuffle(names)
    first = [
        "../../etc/passwd",
        "/etc/passwd",
        "../" * 40 + "etc/passwd",
        "\0",
        ".",
        "..",
        "a" * 5000,
    ]
    return tuple(dict.fromkeys([*first, *filter(None, names)]))[:number]
