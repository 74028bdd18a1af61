"""The small steps that every query takes, each by itself."""
