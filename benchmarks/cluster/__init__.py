"""Three nodes and a Redis under a load of names as people ask for them: what sharing is worth, and what it costs."""
