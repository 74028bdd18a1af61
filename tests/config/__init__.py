"""Tests of heimdall.config."""
