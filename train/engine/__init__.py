"""Run a training, from settings to checkpoints and model file."""
