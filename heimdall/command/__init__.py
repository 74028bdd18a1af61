"""The ``heimdall`` command: what an operator asks of a running node, over its HTTP, or checks before it runs."""
