"""The networks that are trained here, and pretrained ones."""
