"""Configurations of other gateways, read as plain values and made into one of ours. Pure."""
