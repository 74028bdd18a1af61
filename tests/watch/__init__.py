"""Tests of heimdall.watch."""
