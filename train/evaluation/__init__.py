"""Judge a model: score photos, compute figures, say and show what they mean."""
