"""Functions for the notebooks: lessons, figures, and drawn photos of drawn landmarks."""

from models.environment import TRAINING, require

require("a notebook", TRAINING)
