"""A prompt read for the classifier, compiled: the same numbers to the last bit, in less time.

It is C that knows nothing of Python, built when the package is installed where there is a compiler.
Without it all is done in Python, which is what it is held to. So are texts that it is not for:
with letters, digits or spaces beyond ASCII.
"""

import ctypes
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).with_name("kernel.so")
_VERSION = 1


@cache
def library() -> ctypes.PyDLL | str:
    """The library, or why there is none.

    It keeps the interpreter's lock: a call takes some ten microseconds, for a text has at most
    `signals.LIMIT` characters.
    """
    if not LIBRARY.exists():
        return "there was no C compiler where it was installed"
    try:
        kernel = ctypes.PyDLL(str(LIBRARY))
        version = kernel.tiergate_kernel()
    except (OSError, AttributeError) as error:
        return f"it cannot be loaded: {error}"
    if version != _VERSION:
        return f"it is of version {version}, not {_VERSION}: install it again"
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    kernel.tiergate_words.restype = kernel.tiergate_model.restype = pointer
    kernel.tiergate_words.argtypes = (ctypes.c_char_p, size, *[ctypes.c_int] * 3)
    kernel.tiergate_model.argtypes = (ctypes.c_char_p, size) * 3
    kernel.tiergate_read.argtypes = (pointer, ctypes.c_char_p, size, pointer)
    kernel.tiergate_score.argtypes = (
        pointer, pointer, ctypes.c_char_p, size, size, pointer, pointer,
        pointer, *[ctypes.c_double] * 2, pointer,
    )  # fmt: skip
    kernel.tiergate_free.argtypes = (pointer,)
    for function in (kernel.tiergate_read, kernel.tiergate_score, kernel.tiergate_free):
        function.restype = None
    return kernel
