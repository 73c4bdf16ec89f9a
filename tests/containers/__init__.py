"""Tests of what builds and composes the containers; none needs an engine."""
