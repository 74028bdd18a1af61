"""Nodes as an operator runs them: real processes, real Redis, real NSD, real load."""
