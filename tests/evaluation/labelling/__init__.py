"""Tests of `gateway/evaluation/labelling`."""
