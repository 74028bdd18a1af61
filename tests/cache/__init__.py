"""Tests of heimdall.cache."""
