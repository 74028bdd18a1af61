"""Tests of what is deployed: on a host, in a container, in a cluster."""
