"""Heimdall: a caching DNS server framework on Twisted, with a cache shared through Redis."""

__version__ = "0.1.0"
