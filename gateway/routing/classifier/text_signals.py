"""Signals of a prompt's words, as plain numbers: lengths, keywords, code and maths.

Lines of a pasted log count as text that the user quotes, not as prose: the gateway folds them.
"""

# ruff: noqa: RUF001, SIM905 -- keywords of several languages and scripts, many to a line
import re
from itertools import repeat

import msgspec

from gateway.routing.classifier import tokenizer, vocabulary
from gateway.routing.classifier.language import detect_from_signs, detect_language
from gateway.routing.classifier.pasted_text import fold_blocks
from gateway.routing.classifier.phrases import (
    ALL_PHRASES,
    PHRASE_KINDS,
    PHRASES_BY_START,
    PROGRAM_MARKS,
    TRACE_MARKS,
)
from gateway.routing.classifier.word_lists import (
    BUILD,
    CHAT,
    CODE,
    COUNTING,
    KIND_CODES,
    MATHS,
    POLITE,
    PROOF,
    REASON,
    SIMPLE,
    WORD_KINDS,
    Kind,
)
from gateway.settings.schema.rules import Language

MIN_LOG_LINES = 3
"""The minimum number of log lines to fold: the prompt may be about one or two such lines."""
LOG_MARK = "."
"""The mark in place of log lines. It counts as one word, and is in no word list."""
_LINES_PER_MARK = 16
"""The number of folded lines for which the text gets one more mark."""

_TIMESTAMP = (
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d"  # 2026-11-26 17:16, as most write it
    r"|\d\d:\d\d:\d\d"
    r"|\d{2,4}/\d\d/\d\d \d\d:\d\d"
    r"|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"  # Nov 26 17:16:23, as syslog does
    r"|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3} "  # an address, as web servers do
    r"|\{\"(?:@?timestamp|ts|time|level|severity|msg|message)\":"  # a line of JSON
    r"|(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING)\b"
)
_ERROR_WORDS = r"ERROR|FATAL|CRITICAL|SEVERE|[Ee]rror:|[Ee]xception|panic:|Traceback"
"""Words of log lines that stay, because a prompt about a log is mostly about its errors."""
_LOG_LINE = re.compile(
    rf"^(?:> ?| {{1,4}})?[\[(<]?(?:{_TIMESTAMP})(?![^\n]*(?:{_ERROR_WORDS}))[^\n]*", re.MULTILINE
)
_ERROR = re.compile(_ERROR_WORDS)
_MARK_RUN = re.compile(rf"^{re.escape(LOG_MARK)}(?:\n{re.escape(LOG_MARK)}$)*", re.MULTILINE)
_FENCE_BLOCK = re.compile(r"```\w*\n([^`]*)```")


def fold_log_lines(text: str) -> str:
    """Return the text with marks in place of log lines, if it has a log; takes linear time.

    The fence around a block that is mostly log lines goes too, because the block is no code.
    """
    folded, count = _LOG_LINE.subn(LOG_MARK, text)
    if count < MIN_LOG_LINES:
        return text
    folded = _MARK_RUN.sub(_shorten_run, folded)
    return _FENCE_BLOCK.sub(_unwrap_fence, folded) if "```" in folded else folded


def _shorten_run(run: re.Match[str]) -> str:
    """Return one mark for a run of lines, and one more for every `_LINES_PER_MARK` of them."""
    return "\n".join([LOG_MARK] * (1 + run[0].count(LOG_MARK) // _LINES_PER_MARK))


def _unwrap_fence(fence: re.Match[str]) -> str:
    """Return a fence's content without the fence if it is mostly marks; else the whole fence."""
    lines = fence[1].split("\n")
    return fence[1] if 2 * lines.count(LOG_MARK) >= len(lines) - 1 else fence[0]


MAX_CHARS = 3_000
"""The number of characters to read of a prompt. Of a longer prompt, the gateway reads the first
2,000 and the last 1,000, because a request often follows pasted text."""
HEAD_CHARS = 2_000


class TextSignals(msgspec.Struct, frozen=True, gc=False):
    """The result of `read_signals`. Shares and strengths are 0 to 1; the rest are counts.

    All but `chars` and `options` ignore lettered answer options: the user chooses from them and
    does not ask for them. Most texts with such options are exams.
    """

    chars: int = 0
    """The number of characters of the whole text, also of the part that was cut."""
    words: int = 0
    """The number of runs between spaces. Two characters of a script without spaces are one word."""
    options: int = 0
    """The number of lettered answer options, A. to J.: zero, or three and more."""
    questions: int = 0
    """The number of question marks."""
    numbers: int = 0
    """The number of runs of digits."""
    digits: float = 0.0
    """The share of the characters that are digits."""
    code: float = 0.0
    """The strength of fenced code, stack traces, tokens and names of programming."""
    maths: float = 0.0
    """The strength of LaTeX, equations, operators and words of mathematics."""
    proof_words: int = 0
    """The number of words like prove, derive and by induction."""
    reasoning_words: int = 0
    """The number of words like why, analyse, compare, plan, design, optimise and debug among the
    first and last eight words. Phrases like step by step, and scripts without spaces, count
    anywhere."""
    build_words: int = 0
    """The number of words like write, implement and create."""
    simple_words: int = 0
    """The number of greetings and thanks anywhere, and of words like translate, define, rewrite and
    summarise in the places of `reasoning_words`."""
    trace: bool = False
    """True if the text quotes a stack trace or a crash."""
    lookup: bool = False
    """True if the text is a short question that begins or ends like one for a single fact."""
    counting: bool = False
    """True if the text asks how many or how much."""
    greeting: bool = False
    """True if the text is nothing but small talk."""
    pasted_code: bool = False
    """True if a long block of code stands beside the request; `code` is then of the rest."""

    @property
    def total_code(self) -> float:
        """The strength of code, pasted code included; rules read this one."""
        return 1.0 if self.pasted_code else self.code


def read_excerpt(text: str) -> tuple[str, bool]:
    """Return the part of `text` to read, and the value of `TextSignals.pasted_code`.

    The part has `MAX_CHARS` characters at most, and its blocks are folded.
    """
    if len(text) > MAX_CHARS:
        tail = text[HEAD_CHARS - MAX_CHARS :]
        cut_line, _, whole_lines = tail.partition("\n")
        # Between lines of a log, the end of a line is no prose of the user.
        if _LOG_LINE.match(whole_lines) and not _ERROR.search(cut_line):
            tail = whole_lines
        text = f"{text[: HEAD_CHARS - 1]}\n{tail}"
    if text.count("\n") < MIN_LOG_LINES - 1:  # too few for a log or a block
        return text, False
    return fold_blocks(fold_log_lines(text))


def read_signals(text: str) -> TextSignals:
    """Return the signals of `text`, in time linear in `MAX_CHARS`, however long the text is."""
    return TextScan(text).signals()


class TextScan:
    """One text, searched for signals.

    Most texts are prose. Each phrase, token, stack trace or formula needs some word or byte. The
    scan looks for these first, and skips each search that cannot succeed.
    """

    __slots__ = (
        "__weakref__",
        "_digit_count",
        "_lower_text",
        "_mark_kinds",
        "_marks",
        "_option_count",
        "_phrase_hits",
        "_phrase_kinds",
        "_raw",
        "_unspaced_runs",
        "_word_kinds",
        "excerpt",
        "facts",
        "pasted_code",
        "text",
        "tokens",
    )  # fmt: skip

    def __init__(self, text: str) -> None:
        self.text = text
        self.excerpt, self.pasted_code = read_excerpt(text)
        """The part of the text to read, and the value of `TextSignals.pasted_code`."""
        self._option_count, question = (
            split_options(self.excerpt) if "\n" in self.excerpt else (0, self.excerpt)
        )
        self._lower_text = lower_text = question.lower()
        self._raw = raw = lower_text.encode("utf-8", "surrogatepass")
        marks_and_digits = raw.translate(None, _PROSE_BYTES)
        self._marks = marks = marks_and_digits.translate(None, tokenizer.DIGITS)
        """All bytes but letters, digits and spaces."""
        self._mark_kinds = mark_kinds = {*marks}
        self._digit_count = len(marks_and_digits) - len(marks)
        self._unspaced_runs: list[str] = []
        self._phrase_kinds = b""
        is_ascii = len(raw) == len(lower_text)
        self.tokens, self.facts = (
            vocabulary.read_tokens(raw, mark_kinds)
            if is_ascii and not self._option_count
            else _read_tokens(self.excerpt)
        )
        """The words, numbers and marks of the text to read, in order, and their facts."""
        if is_ascii:
            # Bytes are enough here: a word that is in no list never becomes a string.
            facts = self.facts
            if self._option_count:
                facts = vocabulary.find_text_facts(raw.translate(_LETTER_TABLE).split())
            self._word_kinds = facts.kinds
            """The kind of each word."""
            self._phrase_hits = {
                phrase
                for start in facts.phrase_starts
                for phrase in PHRASES_BY_START[start]
                if phrase in lower_text
            }
            """The phrases and marks that the text has."""
        else:
            self._word_kinds = bytes(map(WORD_KINDS.get, _WORD_PATTERN.findall(lower_text), _ZEROS))
            self._phrase_hits = {phrase for phrase in ALL_PHRASES if phrase in lower_text}
            self._unspaced_runs = _UNSPACED_RUN.findall(lower_text)
            if self._unspaced_runs:
                self._phrase_kinds = bytes(
                    map(_UNSPACED_KIND, _UNSPACED_PHRASE.findall(lower_text))
                )

    @property
    def language(self) -> Language:
        """The language of the text."""
        text = self.text
        if self.excerpt is not text or not text.isascii():
            return detect_language(text)
        lower_text = text.lower().encode() if self._option_count else self._raw
        return detect_from_signs(lower_text, self.facts.language_signs) or detect_language(text)

    def signals(self) -> TextSignals:
        """Return all signals of the text."""
        lower_text = self._lower_text
        raw = self._raw
        word_kinds = self._word_kinds
        phrase_hits = self._phrase_hits
        is_ascii = len(raw) == len(lower_text)
        phrase_kinds = self._phrase_kinds
        if phrase_hits:
            phrase_kinds += bytes(
                [PHRASE_KINDS[phrase] for phrase in phrase_hits if phrase in PHRASE_KINDS]
            )
        all_kinds = word_kinds + phrase_kinds
        # A request stands at one end of a text. In the middle, the same words are part of a story.
        end_kinds = (
            word_kinds[:_END_WORDS] + word_kinds[-_END_WORDS:]
            if len(word_kinds) > 2 * _END_WORDS
            else word_kinds
        )
        chat_count = all_kinds.count(CHAT)
        trace = not TRACE_MARKS.isdisjoint(phrase_hits) or (
            "\n" in lower_text and _contains_any(TRACES_WITH_LINE, lower_text)
        )
        code = self._measure_code(all_kinds.count(CODE), has_trace=trace)
        number_count = None if self._option_count else self.facts.number_count
        if number_count is None:
            number_count = len(raw.translate(_DIGIT_RUN_TABLE, b".,").split())
        unspaced_chars = sum(map(len, self._unspaced_runs)) if self._unspaced_runs else 0
        if is_ascii:
            shape = raw.translate(_WORD_SHAPE_TABLE)
            word_count = shape.count(b" a") + shape.startswith(b"a")
        else:
            word_count = len(lower_text.split()) + unspaced_chars // 2
        # If the arguments, with each keyword counted twice, are more than thirty, Python builds a
        # dictionary first. That takes three times as long.
        return TextSignals(
            len(self.text),
            word_count,
            self._option_count,
            self._marks.count(b"?") + (0 if is_ascii else lower_text.count("？")),
            numbers=number_count,
            digits=self._digit_count / (len(lower_text) or 1),
            code=code,
            maths=self._measure_maths(all_kinds.count(MATHS), code),
            proof_words=all_kinds.count(PROOF),
            reasoning_words=end_kinds.count(REASON) + phrase_kinds.count(REASON),
            build_words=all_kinds.count(BUILD),
            simple_words=end_kinds.count(SIMPLE) + phrase_kinds.count(SIMPLE) + chat_count,
            trace=trace,
            lookup=word_count <= _MAX_LOOKUP_WORDS and _asks_fact(lower_text),
            counting=COUNTING in phrase_kinds,
            greeting=chat_count > 0
            and word_count <= _MAX_GREETING_WORDS
            and chat_count + all_kinds.count(POLITE) >= len(word_kinds) + len(self._phrase_kinds)
            and 2 * sum(map(len, self._find_unspaced_phrases())) >= unspaced_chars,
            pasted_code=self.pasted_code,
        )

    def _measure_code(self, word_count: int, *, has_trace: bool) -> float:
        """Return the strength of code: six points are certainty; words alone give at most half."""
        lower_text = self._lower_text
        points = min(word_count, 3) + (4 if has_trace else 0)
        for token in PROGRAM_MARKS.intersection(self._phrase_hits) if self._phrase_hits else ():
            points += min(lower_text.count(token), 2)
        if not _CODE_MARKS.isdisjoint(self._mark_kinds):
            points += 4 if FENCE_MARK in lower_text else 0
            for token in TOKENS_WITH_MARK:
                if token in lower_text:
                    points += min(lower_text.count(token), 2)
        return min(points / 6, 1.0)

    def _measure_maths(self, word_count: int, code: float) -> float:
        """Return the strength of maths: six points are certainty, and words alone can give it."""
        lower_text, points = self._lower_text, word_count
        # In code, an operator is no sign of mathematics.
        if code < _MAX_CODE_FOR_EQUATIONS and not _OPERATORS.isdisjoint(self._mark_kinds):
            points += len(_EQUATION.findall(lower_text))
        if "\\" in lower_text:
            points += len(_LATEX_COMMAND.findall(lower_text))
        if len(self._raw) != len(lower_text):
            points += len(_MATHS_SYMBOL.findall(lower_text))
        return min(points / 6, 1.0)

    def _find_unspaced_phrases(self) -> list[str]:
        return _UNSPACED_PHRASE.findall(self._lower_text) if self._unspaced_runs else []


def _read_tokens(text: str) -> tuple[list[bytes], vocabulary.TextFacts]:
    """Return the tokens of a text, and their facts."""
    if text.isascii():
        lower_text = text.lower().encode()
        return vocabulary.read_tokens(
            lower_text, {*lower_text.translate(None, tokenizer.PLAIN_BYTES)}
        )
    tokens = tokenizer.tokenize(text)
    return tokens, vocabulary.find_text_facts(tokens)


def _contains_any(marks: tuple[str, ...], lower_text: str) -> bool:
    for mark in marks:  # noqa: SIM110 - a generator would cost more than the search
        if mark in lower_text:
            return True
    return False


def split_options(text: str) -> tuple[int, str]:
    """Return the number of answer options, and the text without them."""
    option_count = len(_OPTION_LINE.findall(text))
    # One or two such lines are initials or a list of remarks.
    return (option_count, _OPTION_LINE.sub("", text)) if option_count >= _MIN_OPTIONS else (0, text)


def _asks_fact(lower_text: str) -> bool:
    question = lower_text.strip(" \n\t¿?？.。!！\"'")
    return (
        question.startswith(_FACT_OPENINGS) or question.endswith(_FACT_ENDINGS)
    ) and "\n" not in question


_MIN_OPTIONS = 3
_ZEROS = repeat(0)
_MAX_LOOKUP_WORDS = 16
_MAX_GREETING_WORDS = 12
_END_WORDS = 8
_MAX_CODE_FOR_EQUATIONS = 0.5

# Every pattern is linear: nothing that repeats can match the same characters in two ways.
_WORD_PATTERN = re.compile(r"[^\W\d_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
_UNSPACED_RUN = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+")
_OPTION_LINE = re.compile(r"\n\(?[A-J][.)] [^\n]*")
_LATEX_COMMANDS = (
    "frac sum int sqrt left begin cdot times le leq ge geq neq sin cos tan log ln lim infty partial"
    " alpha beta gamma theta lambda sigma mu pi phi omega mathbb mathcal in to pmod binom vec hat"
).split()
_LATEX_COMMAND = re.compile(rf"\\(?:{'|'.join(_LATEX_COMMANDS)})(?![a-z])")
# An operator between possible operands: x^2, f(n) = 3. The pattern is quick because it starts with
# rare characters.
_EQUATION = re.compile(r"[=^+*×÷≤≥](?:(?<=[\w)}\]].)|(?<=[\w)}\]] .))=? ?(?=\d|[a-z]\b|[\\(√-])")
_MATHS_SYMBOL = re.compile("[∑∫√≤≥≠∞∂∇∈∉∀∃⊂⊆∪∩→⇒⇔×÷±≡≈∏ℝℤℕℚ]")

FENCE_MARK = "```"
TRACES_WITH_LINE = ("\n    at ", "\n  at ", "\n\tat ")
TOKENS_WITH_MARK = (
    "():", "();", ");\n", "{\n", "};", "#include", "function(", "=>", "->", "==", "!=", "&&",
    "+= ", "print(", "</", "select *",
)  # fmt: skip
_CODE_MARKS = frozenset(b"(){}#=>&<*`")
"""Bytes of which each token with a mark has at least one."""
_OPERATORS = frozenset((*b"=^+*", *range(128, 256)))
"""Bytes of which each equation has at least one: × and the like are bytes above 127."""
_PROSE_BYTES = b"abcdefghijklmnopqrstuvwxyz \n"
_DIGIT_RUN_TABLE = bytes(48 if byte in b"0123456789" else 32 for byte in range(256))
"""A table for counting: with points and commas deleted, each number becomes a run of zeros."""
_WORD_SHAPE_TABLE = bytes(32 if chr(byte).isspace() else 97 for byte in range(256))
_LETTER_TABLE = bytes(byte if byte in b"abcdefghijklmnopqrstuvwxyz" else 32 for byte in range(256))
_FACT_OPENINGS = tuple(
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
_FACT_ENDINGS = tuple(
    "是什么|是什么意思|是谁|在哪里|是哪里|とは|とは何ですか|は何ですか|はどこですか|は誰ですか".split(
        "|"
    )
)

# Chinese and Japanese words: they are found inside a run of characters, the longest first.
_UNSPACED_WORDS_BY_KIND: dict[Kind, str] = {
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
    phrase: KIND_CODES[kind]
    for kind, phrases in _UNSPACED_WORDS_BY_KIND.items()
    for phrase in phrases.split()
}
_UNSPACED_KIND = _UNSPACED_LEXICON.__getitem__
_UNSPACED_PHRASE = re.compile("|".join(sorted(_UNSPACED_LEXICON, key=len, reverse=True)))
