"""What the targets share that are servers of Neptune's 2.x protocol, whichever client speaks it."""
