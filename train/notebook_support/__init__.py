"""Functions for the notebooks: lessons, figures, and drawn photos of drawn landmarks."""
