"""Tests of heimdall.admit."""
