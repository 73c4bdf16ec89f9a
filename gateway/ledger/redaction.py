"""What is struck out of kept text: keys, tokens, PEM blocks, e-mail addresses, cards, IBANs, more.

JSON is read, each of its strings is struck by itself, and it is written again, so that it stays
JSON. A streamed answer is struck as the text it makes: a key that comes in two frames is one. Media
give way to a word on their size. Every pattern is linear: what it reads was written by anybody.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from gateway.core import jsonio
from gateway.core.jsonio import Json

type Strike = Callable[[bytes], bytes]
"""Strikes what else is configured out of UTF-8 text."""

_PIECE = 4_096  # characters: no pattern holds up the other threads for longer
_LONGEST = (65_536, 8_192, 1_024, 128)
"""Characters of a string in a text that is too long: the first that is enough."""
_MEDIA = 1024  # characters of base64: no word is as long
_LONG = 300
_PLACES = ("index", "output_index", "content_index", "summary_index", "item_id")
"""Members that say to which of several texts a frame of a stream adds."""
_TEXTS = frozenset({
    "arguments", "cited_text", "code", "content", "data", "delta", "input", "output",
    "partial_json", "reasoning", "reasoning_content", "refusal", "stringValue", "summary", "text",
    "thinking", "transcript",
})  # fmt: skip
"""Members of frames that are a part of something longer."""

_EDGE = (
    r"(?:(?<![^\W_])|(?<=\\[bfnrt])|(?<=%[\dA-Fa-f]{2})|(?<=\\u[\dA-Fa-f]{4})|(?<=\x1b\[[\d;]m)"
    r"|(?<=\x1b\[[\d;]{2}m)|(?<=\x1b\[[\d;]{4}m))"
)
"""Where a secret may begin: also behind the escapes of JSON within JSON, of URLs and terminals."""
_TOKEN = re.compile(
    rf"""
    (?=[\dA-Zacdefghnprstwxy]){_EDGE}(?:
        (?:sk|pk|rk|csk)[-_][\w-]{{16,}}                      # OpenAI, Anthropic, Stripe, others
      | tg-[\da-f]{{32,}}                                      # the gateway's own
      | AIza[\w-]{{30,}} | AQ\.[\w-]{{30,}} | ya29\.[\w.-]{{20,}} | GOCSPX-[\w-]{{20,}}  # Google
      | gh[oprsu]_\w{{30,}} | github_pat_\w{{22,}} | gl(?:pat|rt|dt|ptt)-[\w-]{{20,}}
      | xox[a-z]-[\w-]{{10,}} | xapp-[\w-]{{10,}}                # Slack
      | (?:AKIA|ASIA)[A-Z0-9]{{16}} | ABSK[\w+/]{{40,}}          # AWS
      | (?:hf|gsk|npm|r8|whsec|shpat)_\w{{20,}} | (?:tgp|dop)_v1_\w{{20,}} | dapi[\da-f]{{32}}
      | (?:xai|pplx|nvapi|fw)[-_]\w{{20,}} | pypi-[\w-]{{20,}}
      | SG\.[\w-]{{16,}}\.[\w-]{{16,}} | hv[bsr]\.[\w-]{{20,}}    # SendGrid, Vault
      | (?:(?<![\w-])|(?<=\\[bfnrt]))eyJ[\w-]{{8,}}+\.[\w-]{{8,}}+\.[\w-]{{8,}}  # JWT
    )
    """,
    re.VERBOSE,
)
_BEARER = re.compile(rf"({_EDGE}(?:bearer|basic)\s{{1,8}})[\w.~+/=-]{{8,}}", re.IGNORECASE)
_USER = re.compile(r"(://[^\s/:@\"']{0,100}:)[^\s/@\"']{1,200}(?=@)")
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL
)
_MAIL = re.compile(
    r"(?:(?<![\w.%+-])(?!(?<=\\)[bfnrt])|(?<=\\[bfnrt]))"
    r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}"
)
_CARD = re.compile(r"(?<![\d.])[2-6]\d(?:[ -]?\d){11,17}(?!\d)")
_IBAN = re.compile(
    rf"(?=[A-Z]){_EDGE}[A-Z]{{2}}\d{{2}}(?:[ ]?[A-Z0-9]){{11,30}}", re.ASCII | re.IGNORECASE
)
_DATA = re.compile(r"data:([\w.+/-]{0,100})(?:;[\w=.+-]{1,100}){0,8};base64,([\w+/=%-]*)")
_BASE64 = re.compile(rf"(?<![\w+/-])[A-Za-z0-9+/_-]{{{_MEDIA},}}+={{0,2}}")
_SPACE = re.compile(
    r"(?<=[a-z.,;:!?)\u0080-\uffff])(?<![Bb]earer)(?<![Bb]asic)[ \t](?=[A-Za-z\u0080-\uffff])"
)
"""Between words of which no secret is made."""
_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27"
    " DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22"
    " IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19"
    " MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31"
    " SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_LENGTHS = {one[:2]: int(one[2:]) for one in _IBANS.split()}
"""Signs of an IBAN by its country."""


def redact(data: bytes, strikes: Sequence[Strike] = (), most: int = 262_144) -> tuple[bytes, bool]:
    """Text as it may be kept, and whether it was cut to `most` bytes.

    JSON stays JSON, a stream of events one whose data are JSON: long strings are cut before short
    ones, and a stream loses its end. Only JSON of very many small parts is cut as if it were text.
    """
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        if data.startswith((b"data:", b"event:", b":", b"id:")):
            return _stream(data, strikes, most)
        text = _unpacked(data.decode(errors="replace"))
        cut = _short(most, text)
        return _within(strike(cut, strikes).encode(), most, cut=cut != text)
    try:
        return _json(value, strikes, most)
    except RecursionError:
        return b"[too deep to be kept]", True


def strike(text: str, strikes: Sequence[Strike] = ()) -> str:
    """A text without its secrets."""
    if "-----BEGIN" in text:
        text = _PEM.sub("[PEM]", text)
    struck: list[str] = []
    for piece in _pieces(text):
        if struck:
            time.sleep(0)  # the event loop's turn, which else comes after 5 ms
        struck.append(_struck(piece))
    text = "".join(struck)
    if strikes and text:
        data = text.encode(errors="replace")
        for one in strikes:
            data = one(data)
        text = data.decode(errors="replace")
    return text


def luhn(digits: Sequence[int]) -> bool:
    """Whether digits are a card's number, by their check digit."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _json(value: Json, strikes: Sequence[Strike], most: int) -> tuple[bytes, bool]:
    """JSON with each of its strings struck."""
    value = _value(value, _unpacked, named=True)
    whole, cut = jsonio.dumps(value), False
    for longest in _LONGEST:
        if len(whole) <= most:
            break
        value, cut = _value(value, partial(_short, longest)), True
        whole = jsonio.dumps(value)
    return _within(jsonio.dumps(_value(value, lambda text: strike(text, strikes))), most, cut=cut)


def _within(data: bytes, most: int, *, cut: bool) -> tuple[bytes, bool]:
    if len(data) <= most:
        return data, cut
    return data[:most].decode(errors="ignore").encode(), True


def _short(longest: int, text: str) -> str:
    """A text of at most so many characters, and a word on how many are missing."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}…[{len(text) - longest:,} characters more]"


def _unpacked(text: str) -> str:
    """A text without media: each gives way to [120,000 bytes of image/png]."""
    if len(text) < _MEDIA:
        return text
    head, packed, _ = text[:_LONG].partition(";base64,")
    if packed and head.startswith("data:") and " " not in text and "\n" not in text:
        # The one that is megabytes long, without a look at each sign.
        return _told(text[len(head) + len(packed) :], head[5:].partition(";")[0])
    text = _DATA.sub(lambda found: _told(found[2], found[1]), text)
    return _BASE64.sub(lambda found: _told(found[0], "base64"), text)


def _told(base64: str, kind: str) -> str:
    return f"[{len(base64.rstrip('=')) * 3 // 4:,} bytes of {kind or 'text/plain'}]"


def _pieces(text: str) -> Iterator[str]:
    """A text in parts, divided where no secret is: after a line, else at a space behind a word."""
    at = 0
    while len(text) - at > _PIECE:
        end = text.rfind("\n", at, at + _PIECE) + 1
        if end <= at:
            space = _SPACE.search(text, at + _PIECE)
            if space is None:
                break
            end = space.end()
        yield text[at:end]
        at = end
    yield text[at:]


def _struck(text: str) -> str:
    text = _BEARER.sub(r"\1[token]", text)
    text = _TOKEN.sub("[key]", text)
    if "@" in text:
        text = _USER.sub(r"\1[password]", text)
        text = _MAIL.sub("[e-mail]", text)
    return _checked(_CARD, _card, "[card]", _checked(_IBAN, _iban, "[IBAN]", text))


def _checked(pattern: re.Pattern[str], length: Callable[[str], int], word: str, text: str) -> str:
    """Put a word for what a pattern finds and a check digit confirms, `length` of its signs."""
    parts, done, at = [], 0, 0
    while found := pattern.search(text, at):
        long = length(found[0])
        at = found.start() + (long or 1)
        if long:
            parts += [text[done : found.start()], word]
            done = at
    return "".join([*parts, text[done:]])


def _card(text: str) -> int:
    """How much of a text is a card's number: what follows it may look like more of it."""
    for end in range(len(text), 12, -1):
        digits = [int(sign) for sign in text[:end] if sign.isdecimal()]
        whole = end == len(text) or not (text[end].isdecimal() and text[end - 1].isdecimal())
        if whole and len(digits) > 12 and text[end - 1].isdecimal() and luhn(digits):
            return end
    return 0


def _iban(text: str) -> int:
    """How much of a text is an IBAN."""
    length = _LENGTHS.get(text[:2].upper(), 0)
    places = [at for at, sign in enumerate(text) if sign != " "]
    if not 0 < length <= len(places):
        return 0
    end = places[length - 1] + 1
    plain = text[:end].replace(" ", "").upper()
    number = int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4]))
    return end if number % 97 == 1 else 0


def _value(value: Json, change: Callable[[str], str], *, named: bool = False) -> Json:
    """JSON with each of its strings changed; `named`: media told by the type beside them."""
    match value:
        case str():
            return change(value)
        case dict():
            items = (_named(value) if named else value).items()
            return {change(name): _value(one, change, named=named) for name, one in items}
        case list():
            return [_value(one, change, named=named) for one in value]
        case int() if 10**12 <= value < 10**19:  # a card's number, unless it stays what it was
            text = str(value)
            changed = change(text)
            return value if changed == text else changed
    return value


def _named(value: dict[str, Json]) -> dict[str, Json]:
    """Media in a member beside their type, named by it."""
    kind = value.get("media_type") or value.get("mime_type") or value.get("mimeType")
    kind = kind or value.get("format")
    data = value.get("data")
    if isinstance(kind, str) and isinstance(data, str) and _BASE64.fullmatch(data):
        return {**value, "data": _told(data, kind)}
    return value


def _stream(data: bytes, strikes: Sequence[Strike], most: int) -> tuple[bytes, bool]:
    lines: list[tuple[Json, bytes]] = []
    size, cut = 0, False
    for line in data.splitlines():
        size += len(line) + 1
        if size > most:
            cut = True
            break
        try:
            value = jsonio.loads(line.removeprefix(b"data:"))
            lines.append((_value(value, _unpacked, named=True), b""))
        except (jsonio.JsonError, RecursionError):
            lines.append((None, strike(line.decode(errors="replace"), strikes).encode()))
    _join([value for value, _ in lines], strikes)

    def told(value: Json, line: bytes) -> bytes:
        return line if value is None else b"data: " + jsonio.dumps(_value(value, change))

    def change(text: str) -> str:
        return strike(text, strikes)

    struck = b"\n".join([*(told(value, line) for value, line in lines), b""])
    return _within(struck, most, cut=cut)


def _join(frames: Sequence[Json], strikes: Sequence[Strike]) -> None:
    """Where texts of several frames hide something together, put it all, struck, in the first."""
    pieces: dict[object, list[tuple[Json, object]]] = {}
    for frame in frames:
        for path, holder, name in _strings(frame, ()):
            pieces.setdefault(path, []).append((holder, name))
    for places in pieces.values():
        texts = [holder[name] for holder, name in places]
        whole = strike("".join(texts), strikes)
        if whole == "".join(strike(text, strikes) for text in texts):
            continue
        for holder, name in places:
            holder[name] = ""
        holder, name = places[0]
        holder[name] = whole


def _strings(value: Json, path: tuple[object, ...]) -> Iterator[tuple[object, Json, object]]:
    """Every part of a longer text, with a path that names the text."""
    items: list[tuple[object, Json]] = []
    if isinstance(value, dict):
        path = (*path, *(value[name] for name in _PLACES if isinstance(value.get(name), int | str)))
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for name, one in items:
        if not isinstance(one, str):
            yield from _strings(one, (*path, name))
        elif name in _TEXTS:
            yield (*path, name), value, name
