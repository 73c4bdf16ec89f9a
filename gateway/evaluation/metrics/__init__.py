"""Measures of routers over labels: plain sequences in, numbers with intervals out."""
