"""Requests made from the official SDKs' types: nothing that they can say is lost in silence."""
