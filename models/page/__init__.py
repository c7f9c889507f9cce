"""The web page: what it shows, what it refuses, where it listens."""
