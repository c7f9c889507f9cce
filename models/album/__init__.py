"""Place the photos of an album by their time, their own positions and each other."""
