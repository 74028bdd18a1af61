"""Tests of heimdall.message."""
