"""Last station: ask an upstream."""
