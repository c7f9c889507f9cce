"""Draw an album of tagged photos as a map: one HTML file that needs no network."""
