"""What a model file holds and computes."""
