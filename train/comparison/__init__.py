"""Trained models side by side."""
