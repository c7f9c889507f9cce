"""Turn many photos into rows of a table, resumable, on one machine or a cluster."""
