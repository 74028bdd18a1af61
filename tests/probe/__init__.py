"""Tests of what a configuration is reached for."""
