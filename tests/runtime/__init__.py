"""Tests of `gateway/runtime`."""
