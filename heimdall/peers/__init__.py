"""The nodes of the cluster and what they tell each other."""
