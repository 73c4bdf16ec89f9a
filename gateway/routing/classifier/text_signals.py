"""What the words of a prompt give away, as plain numbers: lengths, keywords, code and maths.

Logs that somebody has pasted: lines that are looked at, and no prose.
"""

# ruff: noqa: RUF001, SIM905 -- keywords of several languages and scripts, many to a line
import re
from itertools import repeat

import msgspec

from gateway.routing.classifier import tokenizer, vocabulary
from gateway.routing.classifier.language import detect, told
from gateway.routing.classifier.phrases import EVERY, PHRASES, PROGRAM, SEARCHED, TRACES
from gateway.routing.classifier.word_lists import (
    BUILD,
    CHAT,
    CODE,
    CODES,
    COUNTING,
    LEXICON,
    MATHS,
    POLITE,
    PROOF,
    REASON,
    SIMPLE,
    Kind,
)
from gateway.settings.schema.rules import Language

FEWEST = 3
"""One or two such lines may be what is written about."""
MARK = "."
"""What stands for lines: a word to those who count words, and in no list of them."""
_MANY = 16
"""Lines for which there is one mark more."""

_STAMP = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d"  # 2026-11-26 17:16, as most write it
    r"|\d\d:\d\d:\d\d"
    r"|\d{2,4}/\d\d/\d\d \d\d:\d\d"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"  # Nov 26 17:16:23, as syslog does
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3} "  # an address, as web servers do
    r"|\{\"(?:@?timestamp|ts|time|level|severity|msg|message)\":"  # a line of JSON
    r"|(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING)\b"
)
_WRONG = r"ERROR|FATAL|CRITICAL|SEVERE|[Ee]rror:|[Ee]xception|panic:|Traceback"
"""What is asked about where a log is asked about: these lines stay."""
_LINE = re.compile(
    rf"^(?:> ?| {{1,4}})?[\[(<]?(?:{_STAMP})(?![^\n]*(?:{_WRONG}))[^\n]*", re.MULTILINE
)
_RUN = re.compile(rf"^{re.escape(MARK)}(?:\n{re.escape(MARK)}$)*", re.MULTILINE)
_FENCE = re.compile(r"```\w*\n([^`]*)```")


def fold(text: str) -> str:
    """The text with a mark in place of the lines of a log, where there is one; linear in it.

    A fence about little else goes with them: it is no code.
    """
    if text.count("\n") < FEWEST - 1:
        return text
    found, count = _LINE.subn(MARK, text)
    if count < FEWEST:
        return text
    found = _RUN.sub(_fewer, found)
    return _FENCE.sub(_bare, found) if "```" in found else found


def _fewer(run: re.Match[str]) -> str:
    """A mark for all lines that stand together, and one more for so many."""
    return "\n".join([MARK] * (1 + run[0].count(MARK) // _MANY))


def _bare(fence: re.Match[str]) -> str:
    """What stands in a fence, without it where little else than marks is in it."""
    lines = fence[1].split("\n")
    return fence[1] if 2 * lines.count(MARK) >= len(lines) - 1 else fence[0]


LIMIT = 3_000
"""Characters that are read of a prompt: its first 2,000 and, of a longer one, its last 1,000,
because a request often follows what was pasted."""
HEAD = 2_000


class TextSignals(msgspec.Struct, frozen=True, gc=False):
    """What `read` saw. Shares and strengths are 0 to 1; the rest are counts.

    All but `chars` and `options` are blind to lettered answer options: they are something to choose
    from, not something that is asked, and most text with them is an exam.
    """

    chars: int = 0
    """Characters of the whole text, also of the part that was cut."""
    words: int = 0
    """Runs between spaces; two characters of a script without spaces are one word."""
    options: int = 0
    """Lettered answer options, A. to J.: zero, or three and more."""
    questions: int = 0
    """Question marks."""
    numbers: int = 0
    """Runs of digits."""
    digits: float = 0.0
    """Share of the characters that are digits."""
    code: float = 0.0
    """Fenced code, stack traces, tokens and names of programming."""
    maths: float = 0.0
    """LaTeX, equations, operators, words of mathematics."""
    proof_words: int = 0
    """Prove, derive, by induction and the like."""
    reasoning_words: int = 0
    """Why, analyse, compare, plan, design, optimise, debug, step by step and the like, among the
    first and last eight words; phrases, and scripts without spaces, anywhere."""
    build_words: int = 0
    """Write, implement, create and the like."""
    simple_words: int = 0
    """Greetings and thanks; in the same places translate, define, rewrite, summarise."""
    trace: bool = False
    """A stack trace or a crash is quoted."""
    lookup: bool = False
    """A short question that opens like one for a single fact."""
    counting: bool = False
    """It asks how many or how much."""
    greeting: bool = False
    """Nothing but small talk."""


def cut(text: str) -> str:
    """The part of `text` that is read: at most `LIMIT` characters, a line of a log as one word."""
    if len(text) > LIMIT:
        text = f"{text[: HEAD - 1]}\n{text[HEAD - LIMIT :]}"
    return fold(text)


def read(text: str) -> TextSignals:
    """The signals of `text`, in time linear in `LIMIT`, however long the text is."""
    return TextScan(text).signals()


class TextScan:
    """One text, searched for no more than is asked of it.

    Most of a call's text is prose: a word or a byte that no phrase, token, stack trace or formula
    can lack, looked for first, spares looking for each of these.
    """

    __slots__ = (
        "__weakref__", "_code", "_digits", "_found", "_kinds", "_low", "_marks", "_maths",
        "_options", "_phrases", "_raw", "_tokens", "_trace", "_unspaced", "cut", "text",
    )  # fmt: skip

    def __init__(self, text: str) -> None:
        self.text = text
        self.cut = cut(text)
        """What is read of it."""
        self._options, asked = options(self.cut)
        self._low = low = asked.lower()
        self._raw = raw = low.encode("utf-8", "surrogatepass")
        signs = raw.translate(None, _PLAIN)
        self._marks = marks = signs.translate(None, tokenizer.DIGITS)
        """All but letters, digits and spaces."""
        self._digits = len(signs) - len(marks)
        self._unspaced: list[str] = []
        self._phrases = b""
        self._tokens: tuple[list[bytes], bytes] | None = None
        if len(raw) == len(low):
            # No string is made of a word that is in no list.
            if self._options:
                known = vocabulary.known(raw.translate(_LETTERS).split())
            else:
                _, known = self._tokens = vocabulary.read(raw, marks)
            self._kinds = vocabulary.kinds(known)
            """Of each word."""
            begun = vocabulary.begun(known)
            self._found = {one for at in begun for one in SEARCHED[at] if one in low}
            """What it has of what is searched for letter by letter."""
        else:
            self._kinds = bytes(map(LEXICON.get, _WORD.findall(low), _NOTHING))
            self._found = {one for one in EVERY if one in low}
            self._unspaced = _UNSPACED.findall(low)
            if self._unspaced:
                self._phrases = bytes(map(_KIND_UNSPACED, _UNSPACED_PHRASE.findall(low)))
        self._trace: bool | None = None
        self._code: float | None = None
        self._maths: float | None = None

    @property
    def tokens(self) -> list[bytes]:
        """Words, numbers and marks of what is read, in order."""
        return self._named()[0]

    @property
    def topics(self) -> bytes:
        """Of each of its tokens."""
        return vocabulary.topics(self._named()[1])

    @property
    def language(self) -> Language:
        """Of the text."""
        text = self.text
        if self.cut is not text or not text.isascii():
            return detect(text)
        low = text.lower().encode() if self._options else self._raw
        return told(low, vocabulary.languages(self._named()[1])) or detect(text)

    @property
    def trace(self) -> bool:
        """As `TextSignals.trace`."""
        if self._trace is None:
            low = self._low
            self._trace = not TRACES.isdisjoint(self._found) or (
                "\n" in low and _some(TRACES_WITH_LINE, low)
            )
        return self._trace

    @property
    def code(self) -> float:
        """As `TextSignals.code`. Six points are certainty; words alone give at most half of it."""
        if self._code is None:
            low = self._low
            points = min(self._count(CODE), 3) + (4 if self.trace else 0)
            for token in PROGRAM.intersection(self._found) if self._found else ():
                points += min(low.count(token), 2)
            if self._marks.translate(None, _UNMARKED):
                points += 4 if FENCE in low else 0
                for token in TOKENS_WITH_MARK:
                    if token in low:
                        points += min(low.count(token), 2)
            self._code = min(points / 6, 1.0)
        return self._code

    @property
    def maths(self) -> float:
        """As `TextSignals.maths`. Six points are certainty; words alone can give it."""
        if self._maths is None:
            low = self._low
            points = self._count(MATHS)
            # In code an operator says nothing.
            if self._marks.translate(None, _NO_OPERATOR) and self.code < _MOSTLY_CODE:
                points += len(_EQUATION.findall(low))
            if "\\" in low:
                points += len(_LATEX.findall(low))
            if len(self._raw) != len(low):
                points += len(_SYMBOL.findall(low))
            self._maths = min(points / 6, 1.0)
        return self._maths

    def signals(self) -> TextSignals:
        """All that there is."""
        low, raw, kinds, found = self._low, self._raw, self._kinds, self._found
        plain = len(raw) == len(low)
        said = self._phrases
        if found:
            said += bytes([PHRASES[one] for one in found if one in PHRASES])
        every = kinds + said
        # A request stands at an end; between the ends the same words tell a story.
        ends = kinds[:_END] + kinds[-_END:] if len(kinds) > 2 * _END else kinds
        chat = every.count(CHAT)
        characters = sum(map(len, self._unspaced)) if self._unspaced else 0
        words = _words(raw) if plain else len(low.split()) + characters // 2
        # Of more than fifteen names Python makes a dictionary first: it takes three times as long.
        return TextSignals(
            len(self.text),
            words,
            options=self._options,
            questions=self._marks.count(b"?") + (0 if plain else low.count("？")),
            numbers=self._numbers() if self._digits else 0,
            digits=self._digits / max(len(low), 1),
            code=self.code,
            maths=self.maths,
            proof_words=every.count(PROOF),
            reasoning_words=ends.count(REASON) + said.count(REASON),
            build_words=every.count(BUILD),
            simple_words=ends.count(SIMPLE) + said.count(SIMPLE) + chat,
            trace=self.trace,
            lookup=words <= _LOOKUP and _asks_fact(low),
            counting=COUNTING in said,
            greeting=chat > 0
            and words <= _GREETING
            and chat + every.count(POLITE) >= len(kinds) + len(self._phrases)
            and 2 * sum(map(len, self._together())) >= characters,
        )

    def _named(self) -> tuple[list[bytes], bytes]:
        """The tokens of what is read, and what is known of them."""
        if self._tokens is None:
            text = self.cut
            if text.isascii():
                low = text.lower().encode()
                self._tokens = vocabulary.read(low, low.translate(None, tokenizer.PLAIN))
            else:
                found = tokenizer.tokens(text)
                self._tokens = found, vocabulary.known(found)
        return self._tokens

    def _numbers(self) -> int:
        found = None if self._options else vocabulary.numbers(self._named()[1])
        return len(self._raw.translate(_RUNS, b".,").split()) if found is None else found

    def _count(self, kind: int) -> int:
        return self._kinds.count(kind) + self._phrases.count(kind)

    def _together(self) -> list[str]:
        return _UNSPACED_PHRASE.findall(self._low) if self._unspaced else []


def _some(marks: tuple[str, ...], low: str) -> bool:
    for mark in marks:  # noqa: SIM110 - a generator would cost more than the search
        if mark in low:
            return True
    return False


def _words(raw: bytes) -> int:
    """Runs between spaces, of ASCII."""
    form = raw.translate(_SPACED)
    return form.count(b" a") + form.startswith(b"a")


def options(text: str) -> tuple[int, str]:
    """How many answer options there are, and the text without them."""
    found = len(_OPTION.findall(text)) if "\n" in text else 0
    # One or two such lines are initials or a list of remarks.
    return (found, _OPTION.sub("", text)) if found >= _FEWEST_OPTIONS else (0, text)


def _asks_fact(low: str) -> bool:
    asked = low.strip(" \n\t¿?？.。!！\"'")
    return (asked.startswith(FACT_OPENINGS) or asked.endswith(FACT_ENDINGS)) and "\n" not in asked


_FEWEST_OPTIONS = 3
_NOTHING = repeat(0)
_LOOKUP = 16
_GREETING = 12
_END = 8
_MOSTLY_CODE = 0.5

# Every pattern is linear: nothing that repeats can match the same characters in two ways.
_WORD = re.compile(r"[^\W\d_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
_OPTION = re.compile(r"\n\(?[A-J][.)] [^\n]*")
LATEX = (
    "frac sum int sqrt left begin cdot times le leq ge geq neq sin cos tan log ln lim infty partial"
    " alpha beta gamma theta lambda sigma mu pi phi omega mathbb mathcal in to pmod binom vec hat"
).split()
_LATEX = re.compile(rf"\\(?:{'|'.join(LATEX)})(?![a-z])")
# An operator between what may be operands: x^2, f(n) = 3. It starts with what is rare: quick.
_EQUATION = re.compile(r"[=^+*×÷≤≥](?:(?<=[\w)}\]].)|(?<=[\w)}\]] .))=? ?(?=\d|[a-z]\b|[\\(√-])")
_SYMBOL = re.compile("[∑∫√≤≥≠∞∂∇∈∉∀∃⊂⊆∪∩→⇒⇔×÷±≡≈∏ℝℤℕℚ]")

FENCE = "```"
TRACES_WITH_LINE = ("\n    at ", "\n  at ", "\n\tat ")
TOKENS_WITH_MARK = (
    "():", "();", ");\n", "{\n", "};", "#include", "function(", "=>", "->", "==", "!=", "&&",
    "+= ", "print(", "</", "select *",
)  # fmt: skip
_UNMARKED = bytes({*range(256)} - {*b"(){}#=>&<*`"})
"""All bytes but those of which each token with a mark has at least one."""
_NO_OPERATOR = bytes({*range(128)} - {*b"=^+*"})
"""All bytes but those of which each equation has at least one."""
_PLAIN = b"abcdefghijklmnopqrstuvwxyz \n"
_RUNS = bytes(48 if at in b"0123456789" else 32 for at in range(256))
"""With points and commas left out each number is a run of zeros."""
_SPACED = bytes(32 if chr(at).isspace() else 97 for at in range(256))
_LETTERS = bytes(at if at in b"abcdefghijklmnopqrstuvwxyz" else 32 for at in range(256))
FACT_OPENINGS = tuple(
    (
        "what is |what's |what are |what was |what does |who |when |where |what year|which year"
        "|which country|which city|what time|what day|capital of "
        "|was ist |was sind |was bedeutet |wer |wann |wo ist |wo liegt |wie heißt "
        "|qu'est-ce qu|quelle est |quel est |qui |quand |où "
        "|qué es |que es |cuál es |quién |cuándo |dónde |o que é |cos'è |che cos'è "
        "|что такое |кто |когда |где |какая столица|что значит "
        "|什么是|什麼是|谁"
    ).split("|")
)
FACT_ENDINGS = tuple(
    "是什么|是什么意思|是谁|在哪里|是哪里|とは|とは何ですか|は何ですか|はどこですか|は誰ですか".split(
        "|"
    )
)

# Chinese and Japanese: found inside a run of characters, the longest first.
_TOGETHER: dict[Kind, str] = {
    "proof": "证明 證明 推导 推導 归纳法 反证法 定理 証明 導出 帰納法",
    "reason": """
        为什么 為什麼 分析 比较 比較 优化 優化 最优 设计 設計 规划 策略
        架构 算法 一步一步 逐步 复杂度 调试 推理
        なぜ 最適化 最適 計画 アルゴリズム アーキテクチャ 段階的 評価 推論
    """,
    "build": "编写 实现 写一个 创建 構築 実装 作成 書いて",
    "simple": "翻译 翻譯 定义 總結 总结 摘要 改写 翻訳 定義 要約 言い換え 首都",
    "chat": """
        你好 您好 谢谢 謝謝 再见 早上好 晚上好 嗨
        こんにちは こんばんは おはよう ありがとう さようなら はじめまして
    """,
    "polite": "吗 呢 你们 最近 怎么样 好的 ございます 元気ですか お願いします",
    "maths": """
        方程 积分 导数 概率 矩阵 三角形 整数 质数 素数 求解 计算
        積分 微分 確率 行列 方程式 計算
    """,
    "code": "函数 代码 程序 数据库 関数 コード プログラム データベース",
    "counting": "多少 几个 いくつ いくら",
}
_UNSPACED_LEXICON: dict[str, int] = {
    phrase: CODES[kind] for kind, phrases in _TOGETHER.items() for phrase in phrases.split()
}
_KIND_UNSPACED = _UNSPACED_LEXICON.__getitem__
_UNSPACED_PHRASE = re.compile("|".join(sorted(_UNSPACED_LEXICON, key=len, reverse=True)))
