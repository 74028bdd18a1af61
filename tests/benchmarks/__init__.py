"""Tests of the benchmarks, and of what they take for granted."""
