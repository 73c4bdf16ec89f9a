"""Read the JSON body of an admin's request."""

from collections.abc import Callable

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid_request


def parse_body[T](
    data: bytes, decode: Callable[[bytes], T], max_bytes: int, form: str, what: str = "The body"
) -> T:
    """Return what `decode` reads in a body of at most `max_bytes`.

    `decode` comes from `jsonio.make_reader`. `form` is a sentence that shows the form of the body,
    and `what` names the body. Raises ProblemError.
    """
    if len(data) > max_bytes:
        message = f"{what} has at most {max_bytes:,} bytes."
        raise ProblemError(Problem(kind="request_too_large", message=message))
    try:
        return decode(data)
    except jsonio.JsonError as error:
        raise invalid_request(f"{form}: {error}.") from None
