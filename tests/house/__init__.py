"""Checks of the house itself: its order, its names, and that what is written about it is true."""
