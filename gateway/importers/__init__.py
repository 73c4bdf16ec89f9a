"""Importers: they read another gateway's configuration and convert it into one of ours. Pure."""
