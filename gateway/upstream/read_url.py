"""Read a page of a running gateway, or of a server of models on this machine."""

import httpx


def read_url(url: str, secret: str, timeout: float = 5.0) -> tuple[int, bytes] | None:
    """GET a URL of the gateway itself; return its status and body, or None if nobody answered."""
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    try:
        with httpx.Client(trust_env=False, timeout=timeout) as client:
            response = client.get(url, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return response.status_code, response.content
