"""HTTP/1.1 for clients: the protocol, its requests and its responses."""
