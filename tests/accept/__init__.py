"""Tests of heimdall.accept."""
