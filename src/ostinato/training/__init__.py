"""Training: windows, truncated back-propagation through time, checkpoints that lose nothing."""
