"""Tests of a Redis that a node runs for itself."""
