"""The ``heimdall`` command: what an operator asks of a running node, over its HTTP. It needs nothing but Python."""
