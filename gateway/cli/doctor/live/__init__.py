"""The live check of `doctor`: probes of real providers, what differs, and a redacted recording."""
