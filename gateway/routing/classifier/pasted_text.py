"""Long blocks of pasted code, tables and quotes: the request itself stands beside them.

The gateway folds a long block to a mark. Otherwise its words would count as words of the request,
and a longer block would make the request look harder.

The code looks at each line once and gives it a letter for its kind. It finds blocks in these
letters.
"""

# ruff: noqa: SIM905 -- words, many to a line

import re

MIN_BLOCK_LINES = 20
"""The minimum number of lines of a block to fold. A shorter block may itself be the subject of the
request."""
BLOCK_MARK = "."
"""The mark in place of a folded block. It counts as one word, and is in no word list."""
_FENCE, _BLANK, _QUOTE, _TRACE = "`", " ", ">", "x"
_CODE, _TABLE, _SENTENCE, _OTHER = "c", "t", "s", "o"
_STATEMENT_WORDS = frozenset(
    "def class import from return if elif else for while with try except finally raise yield async"
    " await const let var function export public private protected static final void int char bool"
    " double float struct enum interface impl pub fn use mod match func package type switch case"
    " break continue namespace using template typedef local end then do done fi echo SELECT FROM"
    " WHERE JOIN LEFT INNER GROUP ORDER HAVING LIMIT INSERT UPDATE DELETE CREATE ALTER VALUES SET"
    " AND OR ON BEGIN END".split()
)
_LINE_STARTS = re.compile(
    r"(```)"
    r"|([ \t]*$)"
    r"|(>)"
    r"|([ \t]*(?:Traceback \(|at [\w.$<>]+ ?\(|File \"))"
    r"|(\(?[A-J][.)] )"  # an answer option
    r"|([ \t{}\[\]()<@#/*]|--|\"\"\"|'''"  # indented, brackets, decorators, comments, tags
    r"|[\w.\[\]\"'*&-]+(?::? [\w*&\[\]]+)? *(?:=|:=|\+=|-=))"  # x = 1
    r"|([-dl][rwxst-]{9}[ \t]|\S+[ \t]{2,}\S+[ \t]{2,}\S)"
    r"|([A-Za-z]\w*)(:(?: |$))?"  # a statement, or a key
)
_KINDS_BY_GROUP = ("", _FENCE, _BLANK, _QUOTE, _TRACE, _SENTENCE, _CODE, _TABLE)
_CODE_ENDINGS = (";", "{", "}", ")", "]", "},", "),", "],", '"""')
_SENTENCE_ENDINGS = (".", "?", "!", ":")


def _describe_block(kind: str) -> str:
    """Return the pattern of a block: lines of a kind, blank ones, and at most two others at a time.

    It allows two others because a cut text leaves two pieces of lines.
    """
    return f"{kind}(?:[{kind} ]|[ot]{{1,2}}{kind}){{{MIN_BLOCK_LINES - 1},}}"


_BLOCKS = re.compile("|".join([f"{_FENCE}[^{_FENCE}]*{_FENCE}", *map(_describe_block, ">ct")]))
"""The pattern of blocks in the letters of lines. A fence counts as one block, however short, so
that its end does not begin another."""
_LETTER = re.compile(r"[^\W\d_]")
_CODE_MARKS = re.compile(r"[;{}()=]")


def fold_blocks(text: str) -> tuple[str, bool]:
    """Return a text with its long blocks folded, and True if one of them is code.

    It takes linear time. A text of nothing but blocks stays as it is, because the request is in
    them.
    """
    if text.count("\n") < MIN_BLOCK_LINES - 1:
        return text, False
    lines = text.split("\n")
    kinds = "".join(map(_classify_line, lines))
    folded: list[str] = []
    outside: list[str] = []
    position, has_code = 0, False
    for match in _BLOCKS.finditer(kinds):
        start, block_kinds = match.start(), match[0].rstrip(_BLANK)
        end = start + len(block_kinds)
        if len(block_kinds) < MIN_BLOCK_LINES or _TRACE in block_kinds:
            continue  # a request with a stack trace is about the trace
        outside += lines[position:start]
        folded += lines[position:start]
        is_fence = block_kinds[0] == _FENCE
        block = lines[start + 1 : end - 1] if is_fence else lines[start:end]
        folded.append(BLOCK_MARK)
        has_code = has_code or _is_code(block)
        position = end
    outside += lines[position:]
    if not position or not any(map(_LETTER.search, outside)):
        return text, False
    return "\n".join([*folded, *lines[position:]]), has_code


def _classify_line(line: str) -> str:
    """Return the letter of a line's kind."""
    match = _LINE_STARTS.match(line)
    group = 0 if match is None else match.lastindex or 0
    if 0 < group < len(_KINDS_BY_GROUP):
        return _KINDS_BY_GROUP[group]
    if line.endswith(_CODE_ENDINGS):
        return _CODE
    if match is not None and (match[9] or match[8] in _STATEMENT_WORDS):
        return _SENTENCE if line.endswith((".", "?", "!")) else _CODE
    return _SENTENCE if line.endswith(_SENTENCE_ENDINGS) else _OTHER


def _is_code(block: list[str]) -> bool:
    """True if there are at least half as many programming marks as lines."""
    return 2 * len(_CODE_MARKS.findall("\n".join(block))) >= len(block)
