"""The tests of the connection to Redis."""
