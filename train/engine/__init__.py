"""A training, from settings to checkpoints."""
