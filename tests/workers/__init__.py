"""Tests of the processes of a node; those that start some are in tests/live."""
