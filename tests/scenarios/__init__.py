"""Scenarios: stories of upstreams, Redis and nodes in files that can be read aloud, and their player."""
