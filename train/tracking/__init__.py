"""Weights & Biases: runs, model artifacts, and the alias best."""
