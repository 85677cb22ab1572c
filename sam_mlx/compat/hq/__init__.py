"""Where ``segment_anything_hq`` differs from ``segment_anything``; the rest is the same."""
