"""The HTTP/1.1 side of the server: the protocol, its requests and its answers."""
