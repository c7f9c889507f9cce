"""Where the served model comes from."""
