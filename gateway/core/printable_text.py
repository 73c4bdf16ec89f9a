"""Make text harmless where it is shown: in a terminal or in a table."""


def make_printable(text: str) -> str:
    """Replace unprintable characters, so that a text cannot control a terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
