"""A Redis that a node runs for itself: its program, its folder, its process."""
