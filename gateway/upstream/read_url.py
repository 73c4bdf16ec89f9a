"""Ask a running gateway, or a server of models on this machine."""

import httpx


def read_url(url: str, secret: str, timeout: float = 5.0) -> tuple[int, bytes] | None:
    """GET a URL of the gateway itself; return its status and body, or None if nobody answered."""
    return send_request("GET", url, secret, None, timeout)


def send_request(
    method: str, url: str, secret: str, json_body: bytes | None, timeout: float = 5.0
) -> tuple[int, bytes] | None:
    """Send a request to the gateway itself; return as `read_url` does."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    if json_body is not None:
        headers["content-type"] = "application/json"
    try:
        with httpx.Client(trust_env=False, timeout=timeout) as client:
            response = client.request(method, url, headers=headers, content=json_body)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return response.status_code, response.content
