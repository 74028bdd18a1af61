"""The page that an operator sees, in a real browser."""
