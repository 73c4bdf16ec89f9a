"""A small language model on this machine, offered as an OpenAI-compatible provider on loopback.

An independent program (`python -m gateway.local_model`) that the gateway starts as a child
process and calls over HTTP like any other provider. It imports nothing from the packages of
the gateway.
"""
