"""Tests of `gateway/pipeline`."""
