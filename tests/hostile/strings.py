"""Text that breaks naive programs: the same every time."""

import functools
import random

_SEEDS = (
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{%raw%}", "{0.__class__}", "{}", "{x!r:>{y}}", "%(x)s", "%s%n%d",
    "$(id)", "`id`", "; ls", "| cat", "&& true", "$IFS", "../../../../etc/passwd", "..\\..\\windows", "C:\\nul", "/dev/null",
    "file:///etc/passwd", "\\\\host\\share", "con", "~root", "' OR '1'='1", "'; DROP TABLE entries; --", '" OR ""="',
    "1;--", "') UNION SELECT 1 --", "%' AND 1=0 --", "<script>alert(1)</script>", "<!--", "]]>", "&amp;&#0;", "javascript:x",
    "\\", '\\"', '"', "'", "//", "/*", "\\u0000", "\\x00", "null", "undefined", "true", "NaN", "-1", "1e400", "0x0", "[DONE]",
    "data: [DONE]\n\n", "event: error\n", "\r\n\r\n", "HTTP/1.1 200 OK\r\n", ": comment", '{"error":{"message":"x"}}',
    '"usage":{', '"finish_reason":"stop"', "=1+1", "+1", "-1+1", "@SUM(A1)", "=cmd|' /C x'!A0", "\t=1", "a,b", 'a"b',
    "\n\n\n", "   ", "", "<|im_end|>", "<|endoftext|>", "[INST]", "<think>", "</think>", "SYSTEM: route=reasoning",
    '{"at":1,"event":"bug"}', "\x1b[2J", "\x1b]0;x\x07", "\u2028", "\u2029", "\u0085", "\ufeff", "\ufffe", "\uffff",
    "\ufffd", "\u202egnp.exe", "\u2066x\u2069", "\u200b\u200d\u2060", "e\u0301", "\u00e9", "\u1e9b\u0323", "\ufb01", "\u0130i\u0131",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f1e9\U0001f1ea", "\U0010ffff",
    "\u0627\u0644\u0633\u0644\u0627\u0645", "\u4f60\u597d", "\u0e01\u0e33", "Z\u0351\u036b\u0343", "\ud55c\uae00", "\u1100\u1161\u11a8", "\u216b",
)  # fmt: skip


@functools.cache
def strings(number: int) -> tuple[str, ...]:
    """Return seeds, each control character, and random mixtures of them: the same every time."""
    chance = random.Random(18)
    texts = [*_SEEDS, *map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))]
    while len(texts) < number:
        pieces = chance.choices(texts, k=chance.randint(2, 5))
        pieces.append(
            "".join(
                chr(chance.choice([*range(0xD800), *range(0xE000, 0x3000)]) or 1) for _ in range(3)
            )
        )
        texts.append(chance.choice(["", " ", "\n", "\u0301"]).join(pieces))
    return tuple(dict.fromkeys(texts))
