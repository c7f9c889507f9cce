"""Say where landmarks are, and draw a map of the world."""
