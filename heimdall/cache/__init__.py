"""Third station: what this node and the cluster know already."""
