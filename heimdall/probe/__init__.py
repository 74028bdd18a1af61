"""Reach for all that a configuration names: upstreams, Redis, ports and files; what ``heimdall check`` does."""
