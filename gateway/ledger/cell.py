"""Text that does no harm where it is shown: in a terminal, in a spreadsheet."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What begins a formula in a spreadsheet, also in the wide form that some of them take for it; such
a text gets an apostrophe in front."""


def plain(text: str) -> str:
    """A text that cannot steer a terminal: what is not printable becomes a replacement sign."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def cell(value: object) -> object:
    """A value in CSV: clients choose tags and models, and a spreadsheet would run a formula."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
