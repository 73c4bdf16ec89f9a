"""The answers of a server: values as they came, and errors."""

type Reply = int | bytes | list[Reply] | None
type Answer = Reply | RedisError

REDIRECT_CODES = ("MOVED", "ASK")
"""The first words of redirections, which nodes of a Cluster send."""
_MAX_CODE_CHARS = 20
_CODE_TEXTS = {
    "LOADING": "it is still loading its data",
    "DENIED": "it is in protected mode",
    **dict.fromkeys(("NOAUTH", "WRONGPASS", "NOPERM"), "it does not accept the credentials"),
    **dict.fromkeys(REDIRECT_CODES, "it is a node of a Cluster, which redis+cluster:// names"),
}


class RedisError:
    """An answer that is an error."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def code(self) -> str:
        """The first word of the error: MOVED, READONLY."""
        return self.text.partition(" ")[0][:_MAX_CODE_CHARS]

    def describe(self) -> str:
        """Say why a server with this answer cannot be asked, without quoting a secret."""
        return _CODE_TEXTS.get(self.code, f"it answers {self.code}")
