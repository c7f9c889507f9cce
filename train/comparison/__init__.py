"""Compare trained models: accuracy, size, speed, and which to choose when."""
