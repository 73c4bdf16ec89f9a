"""A small language model on this machine, an OpenAI-compatible provider on loopback.

It is an independent program (`python -m gateway.local_model`). The gateway starts it as a child
process and calls it over HTTP like any other provider. It imports nothing from the packages of the
gateway.
"""
