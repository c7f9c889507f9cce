"""The web page: what it shows, what it refuses, where it listens."""

import os

# Read when gradio is imported, so set before any file here imports it: nothing leaves this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
