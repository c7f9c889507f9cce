"""Compute with many positions at once, as unit vectors, in which no date line needs care."""

import numpy as np

from models.places.landmarks import EARTH_RADIUS_KM


def to_vectors(degrees: np.ndarray) -> np.ndarray:
    """Return (..., 3) unit vectors of (..., 2) latitudes and longitudes in degrees; NaN stays."""
    latitude, longitude = np.radians(np.moveaxis(np.asarray(degrees, float), -1, 0))
    flat = np.cos(latitude)
    parts = (flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude))
    return np.stack(parts, -1)


def to_degrees(vectors: np.ndarray) -> np.ndarray:
    """Return (..., 2) latitudes and longitudes in degrees of (..., 3) vectors of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.stack([np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)], -1))


def arc_km(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the kilometres along the surface between unit vectors, (..., 3) each, broadcast."""
    return chord_to_km(((vectors - others) ** 2).sum(-1))


def pairwise_km(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (..., n, m) kilometres between (..., n, 3) and (..., m, 3), to within a metre."""
    return chord_to_km(np.clip(2 - 2 * vectors @ np.swapaxes(others, -1, -2), 0, 4))


def chord_to_km(squared: np.ndarray) -> np.ndarray:
    """Return kilometres along the surface for squared chords of the unit sphere."""
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(np.sqrt(squared) / 2, 1))
