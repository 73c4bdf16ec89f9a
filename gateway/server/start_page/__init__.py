"""The start page: what the gateway is, its state, and the base URLs for SDKs."""
