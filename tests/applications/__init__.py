"""Applications with unmodified SDKs against one long-lived gateway, and a provider that checks each request."""
