"""Redaction of kept text: keys, tokens, PEM blocks, e-mail addresses, cards, IBANs, and more.

The gateway parses JSON, redacts each string by itself, and encodes it again, so that it stays JSON.
It redacts a streamed answer as the text of all frames, so it finds a key that is split over two
frames. Media are replaced by a note of their size. Every pattern runs in linear time, since its
input may be hostile.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from gateway.core import jsonio
from gateway.core.jsonio import Json

type Redactor = Callable[[bytes], bytes]
"""Strikes text that the operator configures out of UTF-8 text."""

_CHUNK_LENGTH = 4_096  # characters: no pattern holds up the other threads for longer
_SLICE_LENGTH = 65_536  # characters: the same, for the patterns of media
_STRING_LIMITS = (65_536, 8_192, 1_024, 128)
"""Maximum lengths of strings in a text that is too long, in characters; the first that is
enough."""
_MIN_MEDIA_LENGTH = 1024  # characters of base64: no word is as long
_MEDIA_HEAD_LENGTH = 300
_POSITION_MEMBERS = ("index", "output_index", "content_index", "summary_index", "item_id")
"""Members that say to which of several texts a frame of a stream adds."""
_TEXT_MEMBERS = frozenset({
    "arguments", "cited_text", "code", "content", "data", "delta", "input", "output",
    "partial_json", "reasoning", "reasoning_content", "refusal", "stringValue", "summary", "text",
    "thinking", "transcript",
})  # fmt: skip
"""Members of frames that contain a part of a longer text."""

_WORD_START = (
    r"(?:(?<![^\W_])|(?<=\\[bfnrt])|(?<=%[\dA-Fa-f]{2})|(?<=\\u[\dA-Fa-f]{4})|(?<=\x1b\[[\d;]m)"
    r"|(?<=\x1b\[[\d;]{2}m)|(?<=\x1b\[[\d;]{4}m))"
)
"""The places where a secret may begin, also after escapes of nested JSON, of URLs and of
terminals."""
_TOKEN_PATTERN = re.compile(
    rf"""
    (?=[\dA-Zacdefghnprstwxy]){_WORD_START}(?:
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
_BEARER_PATTERN = re.compile(
    rf"({_WORD_START}(?:bearer|basic)\s{{1,8}})[\w.~+/=-]{{8,}}", re.IGNORECASE
)
_URL_PASSWORD_PATTERN = re.compile(r"(://[^\s/:@\"']{0,100}:)[^\s/@\"']{1,200}(?=@)")
_PEM_PATTERN = re.compile(
    r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL
)
_EMAIL_PATTERN = re.compile(
    r"(?:(?<![\w.%+-])(?!(?<=\\)[bfnrt])|(?<=\\[bfnrt]))"
    r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,63}"
)
_CARD_PATTERN = re.compile(r"(?<![\d.])[2-6]\d(?:[ -]?\d){11,17}(?!\d)")
_IBAN_PATTERN = re.compile(
    rf"(?=[A-Z]){_WORD_START}[A-Z]{{2}}\d{{2}}(?:[ ]?[A-Z0-9]){{11,30}}", re.ASCII | re.IGNORECASE
)
_DATA_URL_PATTERN = re.compile(
    r"data:([\w.+/-]{0,100})(?:;[\w=.+-]{1,100}){0,8};base64,([\w+/=%-]*)"
)
_BASE64_PATTERN = re.compile(rf"(?<![\w+/-])[A-Za-z0-9+/_-]{{{_MIN_MEDIA_LENGTH},}}+={{0,2}}")
_GAP_PATTERN = re.compile(r"[^A-Za-z0-9_+/=%;:,.-]")
_BASE64_RUN_PATTERN = re.compile(r"[A-Za-z0-9_+/=%-]+")
_SPACE_PATTERN = re.compile(
    r"(?<=[a-z.,;:!?)\u0080-\uffff])(?<![Bb]earer)(?<![Bb]asic)[ \t](?=[A-Za-z\u0080-\uffff])"
)
"""A space between words that are not part of a secret."""
_IBAN_LENGTHS_TEXT = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27"
    " DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22"
    " IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19"
    " MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31"
    " SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
)
_IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_LENGTHS_TEXT.split()}
"""The length of an IBAN by its country, in characters."""


def redact(
    data: bytes, redactors: Sequence[Redactor] = (), max_bytes: int = 262_144
) -> tuple[bytes, bool]:
    """Return a text as it may be kept, and True if it was cut to `max_bytes` bytes.

    JSON stays JSON, and a stream of events keeps JSON as its data. Long strings are cut before
    short ones, and a stream loses its end. Only JSON of very many small parts is cut like plain
    text.
    """
    try:
        value = jsonio.loads(data)
    except jsonio.JsonError:
        if data.startswith((b"data:", b"event:", b":", b"id:")):
            return _redact_stream(data, redactors, max_bytes)
        text = _replace_media(data.decode(errors="replace"))
        shortened = _shorten(max_bytes, text)
        return _truncate(
            redact_text(shortened, redactors).encode(), max_bytes, is_cut=shortened != text
        )
    try:
        return _redact_json(value, redactors, max_bytes)
    except RecursionError:
        return b"[too deep to be kept]", True


def redact_text(text: str, redactors: Sequence[Redactor] = ()) -> str:
    """Return a text without its secrets."""
    text = redact_pem_blocks(text)
    chunks: list[str] = []
    for chunk in _split_chunks(text):
        if chunks:
            time.sleep(0)  # lets the event loop run, which else waits 5 ms
        chunks.append(_redact_chunk(chunk))
    text = "".join(chunks)
    if redactors and text:
        data = text.encode(errors="replace")
        for redactor in redactors:
            data = redactor(data)
        text = data.decode(errors="replace")
    return text


def redact_pem_blocks(text: str) -> str:
    """Return a text without PEM blocks, which may be longer than any other secret."""
    return _PEM_PATTERN.sub("[PEM]", text) if "-----BEGIN" in text else text


def is_luhn_valid(digits: Sequence[int]) -> bool:
    """True if the check digit confirms a card number."""
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _redact_json(value: Json, redactors: Sequence[Redactor], max_bytes: int) -> tuple[bytes, bool]:
    """Return JSON with each string redacted."""
    value = _map_strings(value, _replace_media, describes_media=True)
    encoded, is_cut = jsonio.dumps(value), False
    for max_length in _STRING_LIMITS:
        if len(encoded) <= max_bytes:
            break
        value, is_cut = _map_strings(value, partial(_shorten, max_length)), True
        encoded = jsonio.dumps(value)
    return _truncate(
        jsonio.dumps(_map_strings(value, lambda text: redact_text(text, redactors))),
        max_bytes,
        is_cut=is_cut,
    )


def _truncate(data: bytes, max_bytes: int, *, is_cut: bool) -> tuple[bytes, bool]:
    if len(data) <= max_bytes:
        return data, is_cut
    return data[:max_bytes].decode(errors="ignore").encode(), True


def _shorten(max_length: int, text: str) -> str:
    """Return at most `max_length` characters of a text, and a note of how many are missing."""
    if len(text) <= max_length:
        return text
    return f"{text[:max_length]}…[{len(text) - max_length:,} characters more]"


def _replace_media(text: str) -> str:
    """Replace the media in a text by notes such as [120,000 bytes of image/png]."""
    if len(text) < _MIN_MEDIA_LENGTH:
        return text
    prefix, separator, _ = text[:_MEDIA_HEAD_LENGTH].partition(";base64,")
    if separator and prefix.startswith("data:") and " " not in text and "\n" not in text:
        # The text is one data URL, maybe megabytes long: it needs no search.
        return _describe_media(text[len(prefix) + len(separator) :], prefix[5:].partition(";")[0])
    slices: list[str] = []
    for part, further_length in _split_between_media(text):
        if slices:
            time.sleep(0)  # lets the event loop run, as in redact_text
        slices.append(_replace_media_in_slice(part, further_length))
    return "".join(slices)


def _replace_media_in_slice(text: str, further_length: int) -> str:
    """Replace the media in a slice; base64 at its end has so many further characters."""
    for pattern in (_DATA_URL_PATTERN, _BASE64_PATTERN):
        parts, end = list[str](), 0
        for match in pattern.finditer(text):
            more_length = further_length if match.end() == len(text) else 0
            further_length -= more_length
            is_url = pattern is _DATA_URL_PATTERN
            base64, media_type = (match[2], match[1]) if is_url else (match[0], "base64")
            parts += [text[end : match.start()], _describe_media(base64, media_type, more_length)]
            end = match.end()
        text = "".join([*parts, text[end:]])
    return text + _describe_media("", "base64", further_length) if further_length else text


def _find_base64_end(text: str, start: int) -> int:
    """Return the end of the base64 at a place in a text."""
    while match := _BASE64_RUN_PATTERN.match(text, start, start + _SLICE_LENGTH):
        start = match.end()
    return start


def _split_between_media(text: str) -> Iterator[tuple[str, int]]:
    """Split a text after a character that is part of no base64 and of no data URL.

    Where there is no such character for long, the text is split within base64. With each slice
    comes the number of characters of its last base64 that are beyond the slice.
    """
    start, longest = 0, 2 * _SLICE_LENGTH
    while len(text) - start > longest:
        gap = _GAP_PATTERN.search(text, start + _SLICE_LENGTH, start + longest)
        end = start + longest if gap is None else gap.end()
        base64_end = end if gap is not None else _find_base64_end(text, end)
        further_length = base64_end - end
        if further_length < _SLICE_LENGTH:
            end, further_length = base64_end, 0
        elif text.endswith("=", end, base64_end):
            further_length -= 2 if text.endswith("==", end, base64_end) else 1
        yield text[start:end], further_length
        start = base64_end
    yield text[start:], 0


def _describe_media(base64: str, media_type: str, further_length: int = 0) -> str:
    """Describe base64 that has so many further characters."""
    length = len(base64.rstrip("=")) + further_length
    return f"[{length * 3 // 4:,} bytes of {media_type or 'text/plain'}]"


def _split_chunks(text: str) -> Iterator[str]:
    """Split a text where no secret can be: after a line, or else at a space after a word."""
    start = 0
    while len(text) - start > _CHUNK_LENGTH:
        end = text.rfind("\n", start, start + _CHUNK_LENGTH) + 1
        if end <= start:
            space = _SPACE_PATTERN.search(text, start + _CHUNK_LENGTH)
            if space is None:
                break
            end = space.end()
        yield text[start:end]
        start = end
    yield text[start:]


def _redact_chunk(text: str) -> str:
    text = _BEARER_PATTERN.sub(r"\1[token]", text)
    text = _TOKEN_PATTERN.sub("[key]", text)
    if "@" in text:
        text = _URL_PASSWORD_PATTERN.sub(r"\1[password]", text)
        text = _EMAIL_PATTERN.sub("[e-mail]", text)
    return _replace_checked(
        _CARD_PATTERN,
        _measure_card,
        "[card]",
        _replace_checked(_IBAN_PATTERN, _measure_iban, "[IBAN]", text),
    )


def _replace_checked(
    pattern: re.Pattern[str], measure_match: Callable[[str], int], replacement: str, text: str
) -> str:
    """Replace matches that a check digit confirms; `measure_match` returns their true length."""
    parts, copied_until, position = [], 0, 0
    while match := pattern.search(text, position):
        matched_length = measure_match(match[0])
        position = match.start() + (matched_length or 1)
        if matched_length:
            parts += [text[copied_until : match.start()], replacement]
            copied_until = position
    return "".join([*parts, text[copied_until:]])


def _measure_card(text: str) -> int:
    """Return the length of a card number at the start of a text; more digits may follow it."""
    for end in range(len(text), 12, -1):
        digits = [int(character) for character in text[:end] if character.isdecimal()]
        ends_number = end == len(text) or not (text[end].isdecimal() and text[end - 1].isdecimal())
        if ends_number and len(digits) > 12 and text[end - 1].isdecimal() and is_luhn_valid(digits):
            return end
    return 0


def _measure_iban(text: str) -> int:
    """Return the length of the IBAN at the start; 0 if there is none."""
    length = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    positions = [index for index, character in enumerate(text) if character != " "]
    if not 0 < length <= len(positions):
        return 0
    end = positions[length - 1] + 1
    compact = text[:end].replace(" ", "").upper()
    number = int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4]))
    return end if number % 97 == 1 else 0


def _map_strings(
    value: Json, change: Callable[[str], str], *, describes_media: bool = False
) -> Json:
    """Return JSON with each string changed; `describes_media` replaces media beside their type."""
    match value:
        case str():
            return change(value)
        case dict():
            items = (_replace_typed_media(value) if describes_media else value).items()
            return {
                change(name): _map_strings(item, change, describes_media=describes_media)
                for name, item in items
            }
        case list():
            return [_map_strings(item, change, describes_media=describes_media) for item in value]
        case int() if 10**12 <= value < 10**19:  # may be a card number; stays a number if unchanged
            text = str(value)
            changed = change(text)
            return value if changed == text else changed
    return value


def _replace_typed_media(value: dict[str, Json]) -> dict[str, Json]:
    """Replace media in a member beside their type by a note with that type."""
    media_type = value.get("media_type") or value.get("mime_type") or value.get("mimeType")
    media_type = media_type or value.get("format")
    data = value.get("data")
    if isinstance(media_type, str) and isinstance(data, str) and _BASE64_PATTERN.fullmatch(data):
        return {**value, "data": _describe_media(data, media_type)}
    return value


def _redact_stream(
    data: bytes, redactors: Sequence[Redactor], max_bytes: int
) -> tuple[bytes, bool]:
    lines: list[tuple[Json, bytes]] = []
    size, is_cut = 0, False
    for line in data.splitlines():
        size += len(line) + 1
        if size > max_bytes:
            is_cut = True
            break
        try:
            value = jsonio.loads(line.removeprefix(b"data:"))
            lines.append((_map_strings(value, _replace_media, describes_media=True), b""))
        except (jsonio.JsonError, RecursionError):
            lines.append((None, redact_text(line.decode(errors="replace"), redactors).encode()))
    _redact_joined_texts([value for value, _ in lines], redactors)

    def encode_line(value: Json, line: bytes) -> bytes:
        return (
            line if value is None else b"data: " + jsonio.dumps(_map_strings(value, redact_string))
        )

    def redact_string(text: str) -> str:
        return redact_text(text, redactors)

    redacted = b"\n".join([*(encode_line(value, line) for value, line in lines), b""])
    return _truncate(redacted, max_bytes, is_cut=is_cut)


def _redact_joined_texts(frames: Sequence[Json], redactors: Sequence[Redactor]) -> None:
    """Redact texts over several frames: a text with a secret moves to its first frame, redacted."""
    parts_by_path: dict[object, list[tuple[Json, object]]] = {}
    for frame in frames:
        for path, container, name in _find_text_parts(frame, ()):
            parts_by_path.setdefault(path, []).append((container, name))
    for locations in parts_by_path.values():
        texts = [container[name] for container, name in locations]
        redacted = redact_text("".join(texts), redactors)
        if redacted == "".join(redact_text(text, redactors) for text in texts):
            continue
        for container, name in locations:
            container[name] = ""
        container, name = locations[0]
        container[name] = redacted


def _find_text_parts(
    value: Json, path: tuple[object, ...]
) -> Iterator[tuple[object, Json, object]]:
    """Yield every part of a longer text, with a path that identifies the text."""
    items: list[tuple[object, Json]] = []
    if isinstance(value, dict):
        path = (
            *path,
            *(value[name] for name in _POSITION_MEMBERS if isinstance(value.get(name), int | str)),
        )
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for name, item in items:
        if not isinstance(item, str):
            yield from _find_text_parts(item, (*path, name))
        elif name in _TEXT_MEMBERS:
            yield (*path, name), value, name
