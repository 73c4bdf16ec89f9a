"""The answers of a server: values as they came, and errors."""

type Reply = int | bytes | list[Reply] | None
type Answer = Reply | RedisError

REDIRECT_CODES = ("MOVED", "ASK")
"""The first words of redirections, which nodes of a Cluster send."""
_MAX_CODE_CHARS = 20
_BAD_LOGIN = "it does not accept the credentials"
_CODE_TEXTS = {
    "DENIED": "it is in protected mode",
    **dict.fromkeys(("WRONGPASS", "NOPERM"), _BAD_LOGIN),
    **dict.fromkeys(REDIRECT_CODES, "it is a node of a Cluster, which redis+cluster:// names"),
}
_CONNECTION_TEXTS = {
    "LOADING": "it is still loading its data",
    "NOAUTH": _BAD_LOGIN,
    "ERR Protocol error: unauthenticated": _BAD_LOGIN,  # to over ten words before a login
    "ERR max number of clients": "no connection is left",
}
"""The beginnings of errors with which a server refuses every command of a connection."""


class RedisError:
    """An answer that is an error."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def code(self) -> str:
        """The first word of the error: MOVED, READONLY."""
        return self.text.partition(" ")[0][:_MAX_CODE_CHARS]

    @property
    def concerns_connection(self) -> bool:
        """True if the server refuses every command of this connection."""
        return self.text.startswith(tuple(_CONNECTION_TEXTS))

    def describe(self) -> str:
        """Say why a server with this answer cannot be asked, without quoting a secret."""
        for beginning, text in _CONNECTION_TEXTS.items():
            if self.text.startswith(beginning):
                return text
        return _CODE_TEXTS.get(self.code, f"it answers {self.code}")

    def describe_login(self) -> str:
        """Say why a server that answers this to a login cannot be asked."""
        # "ERR AUTH <password> called without any password configured", and others.
        return _BAD_LOGIN if self.code == "ERR" else self.describe()
