"""Read every endpoint that the official SDKs call from their sources.

An endpoint is a method and a path, with `{}` for each placeholder: `GET /v1/files/{}`.
"""

import ast
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anthropic
import google.genai
import openai

_REQUESTS: Mapping[str, str] = {
    "_get": "GET",
    "_get_api_list": "GET",
    "_post": "POST",
    "_put": "PUT",
    "_patch": "PATCH",
    "_delete": "DELETE",
}
"""The methods of a resource of Stainless's SDKs that send a request."""
_GEMINI_CALLS = {
    "self._api_client.request": None,
    "self._api_client.request_streamed": None,
    "self._api_client.download_file": "GET",
}
"""Google's functions that send a request; without a method here the first argument has it."""
_GEMINI_NAMES: Mapping[str, Sequence[str]] = {
    "batches:{model}": ("models/{}",),
    "caches:{name}": ("cachedContents/{}",),
    "documents:{name}": ("fileSearchStores/{}/documents/{}",),
    "documents:{parent}": ("fileSearchStores/{}",),
    "file_search_stores:{clean_id}": ("fileSearchStores/{}/media/{}",),
    "file_search_stores:{file_search_store_name}": ("fileSearchStores/{}",),
    "file_search_stores:{name}": ("fileSearchStores/{}",),
    "models:{model}": ("models/{}",),
    "models:{models_url}": ("models",),
    "models:{name}": ("models/{}",),
    "operations:{operationName}": (
        "models/{}/operations/{}",
        "fileSearchStores/{}/operations/{}",
        "fileSearchStores/{}/upload/operations/{}",
    ),
    "tunings:{name}": ("tunedModels/{}",),
}
"""The paths that a placeholder stands for, by module: Google's SDK puts whole names in."""
_LEADING_NAME = re.compile(r"(upload/v1beta/)?(\{\w+\})(.*)")
_PLACEHOLDER = re.compile(r"\{\w+\}")
_UNREADABLE = "<path that this reader does not understand>"


@functools.cache
def list_endpoints(sdk: str) -> frozenset[str]:
    """Return the endpoints of one official SDK, by its name on the package index."""
    readers = {
        "openai": lambda: _read_resources(_find_folder(openai) / "resources", "/v1"),
        "anthropic": lambda: _read_resources(_find_folder(anthropic) / "resources", ""),
        "google-genai": _read_gemini,
    }
    return frozenset(readers[sdk]())


def normalise(path: str) -> str:
    """Return a path with `{}` for its placeholders, and without a query."""
    return _PLACEHOLDER.sub("{}", path.partition("?")[0])


def _find_folder(package: object) -> Path:
    return Path(str(getattr(package, "__file__", ""))).parent


def _read_resources(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the endpoints of OpenAI's or Anthropic's SDK."""
    for file in sorted(folder.rglob("*.py")):
        for call in _list_calls(ast.parse(file.read_text("utf-8"))):
            method = _REQUESTS.get(call.func.attr) if isinstance(call.func, ast.Attribute) else None
            if method is None or ast.unparse(call.func).split(".")[0] != "self":
                continue
            path = _read_path(call.args[0]) or _find_keyword(call, "span_route")
            method = (_find_keyword(call, "method") or method).upper()
            yield f"{method} {prefix}{normalise(path or _UNREADABLE + file.name)}"


def _read_gemini() -> Iterator[str]:
    folder = _find_folder(google.genai)
    for file in sorted((folder / "_gaos").glob("*.py")):
        for call in _list_calls(ast.parse(file.read_text("utf-8"))):
            path, method = _find_keyword(call, "path"), _find_keyword(call, "method")
            if path is not None and method is not None and path.startswith("/"):
                yield f"{method} {normalise(path.replace('{api_version}', 'v1beta'))}"
    for file in sorted(folder.glob("*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        functions = [
            item
            for item in ast.walk(tree)
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for function in functions:
            for call in _list_calls(function):
                yield from _read_gemini_call(file.stem, function, call)


def _read_gemini_call(
    module: str, function: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call
) -> Iterator[str]:
    name = ast.unparse(call.func)
    name = {"self._api_client.async_request": "self._api_client.request"}.get(name, name)
    if name not in _GEMINI_CALLS:
        return
    method = _GEMINI_CALLS[name] or (_read_path(call.args[0]) or "").upper()
    paths = [*_list_gemini_paths(function.body)]
    if not paths and not _raises_without_vertex(function):
        paths = [f"{_UNREADABLE} of {module}.{function.name}"]
    for path in paths:
        for full_path in _resolve(module, path):
            yield f"{method} {full_path}"


def _list_gemini_paths(statements: Sequence[ast.stmt]) -> Iterator[str]:
    """Yield the texts that a function gives to `path`, where the client is not on Vertex AI."""
    for item in statements:
        if isinstance(item, ast.If):
            test = ast.unparse(item.test)
            if test != "self._api_client.vertexai":
                yield from _list_gemini_paths(item.body)
            if test != "not self._api_client.vertexai":
                yield from _list_gemini_paths(item.orelse)
        elif isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "path":
            text = _read_path(item.value)
            if text is not None and text.partition("?")[0] != "{path}":  # it adds a query
                yield text


def _raises_without_vertex(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return True if a function raises an error where the client is not on Vertex AI."""
    return any(
        isinstance(item, ast.If)
        and ast.unparse(item.test) == "not self._api_client.vertexai"
        and isinstance(item.body[0], ast.Raise)
        for item in function.body
    )


def _resolve(module: str, path: str) -> Iterator[str]:
    """Yield the paths from the host on; a resource name becomes those that it stands for."""
    path = path.partition("?")[0].replace("{{", "{").replace("}}", "}")
    path = path.replace("{api_version}", "v1beta")
    begin = "/" if path.startswith("upload/") else "/v1beta/"
    if (match := _LEADING_NAME.fullmatch(path)) is None:
        yield begin + normalise(path)
        return
    before, name, rest = match.groups(default="")
    for known_path in _GEMINI_NAMES.get(f"{module}:{name}", (f"{_UNREADABLE} {module}:{name}",)):
        yield normalise(f"{begin}{before}{known_path}{rest}")


def _read_path(node: ast.expr) -> str | None:
    """Return the text of a literal, of an f-string, or of the first argument of a call."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}"
            if isinstance(part, ast.FormattedValue)
            else _read_path(part) or ""
            for part in node.values
        )
    if isinstance(node, ast.Call):
        is_method = isinstance(node.func, ast.Attribute) and node.func.attr == "format_map"
        inner = node.func.value if is_method else node.args[0]  # type: ignore[attr-defined]
        return _read_path(inner)
    return None


def _list_calls(tree: ast.AST) -> Iterator[ast.Call]:
    for item in ast.walk(tree):
        if isinstance(item, ast.Call):
            yield item


def _find_keyword(call: ast.Call, name: str) -> str | None:
    """Return the literal that a call, or a call in its arguments, gives to a keyword."""
    for item in _list_calls(call):
        for keyword in item.keywords:
            if keyword.arg == name and isinstance(keyword.value, ast.Constant):
                return str(keyword.value.value)
    return None
