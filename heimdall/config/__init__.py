"""What can be set, where each value comes from, and clear errors for what is wrong."""
