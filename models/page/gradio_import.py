"""Import gradio so that it asks nothing of the internet, and in 60 % of its time.

So nothing else may import gradio first: from models.page.gradio_import import gr.
"""

import contextlib
import inspect
import os
from collections.abc import Iterator
from typing import Any

# Read when gradio is imported, so set before: nothing leaves this machine.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@contextlib.contextmanager
def _without_stubs() -> Iterator[None]:
    """Keep gradio from checking the stub files of its 80 components, which only editors read.

    It parses the file of each class as it is defined, unless the class seems to have none.
    """
    find_file = inspect.getfile

    def find(each: Any) -> str:
        if isinstance(each, type) and each.__module__.startswith("gradio."):
            raise OSError("no stubs")
        return find_file(each)

    inspect.getfile = find
    try:
        yield
    finally:
        inspect.getfile = find_file


with _without_stubs():
    import gradio as gr
    from gradio.components.label import LabelConfidence, LabelData

__all__ = ["LabelConfidence", "LabelData", "gr"]
