"""The 2.x protocol over the same store as 3.x: what `neptune` and `minfx.neptune_v2` ask for."""
