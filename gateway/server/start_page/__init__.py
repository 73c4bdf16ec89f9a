"""The start page: what the gateway is, how it stands, and where an application points its SDK."""
