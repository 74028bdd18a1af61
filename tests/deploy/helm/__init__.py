"""The chart: rendered by a real helm, held against the schemas of Kubernetes, and run as far as that goes."""
