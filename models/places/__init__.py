"""Where landmarks are, and a map of the world."""
