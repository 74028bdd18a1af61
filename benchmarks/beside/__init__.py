"""Heimdall beside other servers, on the same work in one run."""
