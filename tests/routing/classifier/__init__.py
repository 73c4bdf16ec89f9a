"""Tests of `gateway/routing/classifier`."""
