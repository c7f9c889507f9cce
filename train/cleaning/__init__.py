"""What train.prepare finds wrong with a folder of photos."""
