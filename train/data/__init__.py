"""Photos, splits and batches."""
