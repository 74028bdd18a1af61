"""Several processes that serve as one node: started, watched and restarted by a parent that speaks for all of them."""
