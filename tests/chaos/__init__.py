"""Everything that may happen to a cluster, under a steady load: ``make chaos`` runs it all, the tests a part."""
