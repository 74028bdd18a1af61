"""Tests of heimdall.peers."""
