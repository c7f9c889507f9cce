"""What a model is worth: figures, findings, reports."""
