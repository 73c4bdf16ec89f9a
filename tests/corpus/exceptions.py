"""Recordings of which a client gets something else than the oracle says, by id, each with its reason."""

from collections.abc import Mapping

from tests.corpus.oracle import CHAT, GEMINI, MESSAGES, RESPONSES, Row

_PARTS = "reasoning in content parts of a stream, where the oracle does not look"
_TWO = "several streams recorded as one: the first is read, the SDK took the last"
_NONE = (
    "200 with an error object: a problem comes out, where the SDK gives an answer without choices"
)

EVERYWHERE: Mapping[str, str] = {
    "6dbf37a837a21a48": "OpenRouter's [DONE], at which the SDK raises; it is left out",
    "8382d44533840ebd": _NONE,
    "237fcc7662e76bd0": _NONE,
}
"""Also at home."""
HOME: Mapping[str, str] = {
    "a22dbfdc053b922f": "200 with an error in its choice: a problem comes out, where the SDK gives half a text",
}
"""Of clients that speak the provider's dialect."""
ABROAD: Mapping[str, str] = {
    "bf6ff51306299835": "two calls under one index, told apart by id: the SDK runs them together",
    "37a4c53fd3a2f2bf": _PARTS,
    "9e12c0455abc0a47": _PARTS,
    "d073dfa7803c5185": _TWO,
    "77312109f9f55a12": _TWO,
    "24350c506937b288": "tells -9 tokens of output, which is unknown here",
}
"""Whatever the client's dialect."""
SOME: Mapping[tuple[str, str], str] = {
    (id, client): why
    for why, clients, ids in (
        (
            "tells usage in x_groq alone, where the SDK does not look",
            (RESPONSES, GEMINI),
            (
                "504a367aa169b3aa", "7af58f1dcb3e57c0", "a6abe72a9864919f", "3dfa130e6dc41371",
                "5f0443f39aded350", "b37faf0a8ab3eae6", "fbd35a0cd761b36f",
            ),
        ),
        (
            "frames without output_index, at which the SDK stops before it reads usage",
            (CHAT, GEMINI),
            ("6af70d073d77ee69",),
        ),
        (
            "tells 0 tokens of input, which takes back no estimate that a message began with",
            (MESSAGES,),
            ("b922c23fb6ebca4d",),
        ),
    )
    for id in ids
    for client in clients
}  # fmt: skip
"""For clients that are told usage where it is told, and none where it is not."""
EVERY: Mapping[str, str] = {
    **EVERYWHERE,
    **HOME,
    **ABROAD,
    **{id: why for (id, _), why in SOME.items()},
}


def of(row: Row, client: str) -> str | None:
    """Why an answer may say something else to a client; None where it may not."""
    if client == row.dialect:
        return EVERYWHERE.get(row.id) or HOME.get(row.id)
    return EVERYWHERE.get(row.id) or ABROAD.get(row.id) or SOME.get((row.id, client))
