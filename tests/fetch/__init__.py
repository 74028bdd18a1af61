"""Tests of heimdall.fetch."""
