"""Our layers beside the best peers: the same numbers through each, checked to agree, timed in turn."""
