"""Many photos to rows of a table: finding, working, resuming, on one machine or a cluster."""
