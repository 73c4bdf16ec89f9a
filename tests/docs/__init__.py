"""Tests that run the examples of the documents and compare their tables with the code."""
