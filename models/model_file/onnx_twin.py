"""Run the ONNX twin of a model file with onnxruntime: faster than TorchScript, and without torch.

No other file of this project imports onnxruntime, so that none can forget the first line below.
"""

import json
import os
from typing import Any

# Read when onnxruntime is imported, so set before: nothing leaves this machine. Without it, 1.29
# and later report each loaded model to Microsoft, and keep a database in the home folder.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime

from models.command_line import first_line
from models.environment import cores
from models.model_file.archive import MANIFEST
from models.model_file.engine import Outputs
from models.model_file.onnx_check import INPUT, OUTPUTS, check_program

FATAL = 4


class OnnxTwin:
    """An engine (models.model_file.engine) that runs the ONNX program of a model file."""

    def __init__(self, program: bytes, manifest: dict[str, Any], threads: int | None) -> None:
        """Check the program, and load it only then.

        Args:
            program: The content of model.onnx.
            manifest: The model file's.
            threads: How many compute one photo; None: one per core.

        Raises:
            ValueError: It is damaged, holds what no export of this project writes, or belongs to
                another model file.
        """
        metadata = check_program(program, len(manifest["class_names"]))
        if json.loads(metadata.get(MANIFEST, "null")) != manifest:
            raise ValueError("its ONNX program belongs to another model file")
        options = onnxruntime.SessionOptions()
        # Counted by ourselves: by default it takes all cores of the machine, even if this process
        # may use only some, and ties its threads to them.
        options.intra_op_num_threads = threads or cores()
        # Threads that wait would otherwise keep their cores busy, which decode the next photos.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # It would remember a plan for each size of photo, for ever.
        options.enable_mem_pattern = False
        options.log_severity_level = FATAL  # what goes wrong is raised, too
        try:
            self._session = onnxruntime.InferenceSession(
                program, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common class of their own
            raise ValueError(f"onnxruntime does not load it: {first_line(error)}") from error

    def answer(self, images: np.ndarray, count: int) -> Outputs:
        """Return everything from one pass, with min(count, K) maps; (B, 3, H, W) uint8.

        Raises:
            RuntimeError: If the program fails.
        """
        found = Outputs(*self._run(OUTPUTS, images))
        return found._replace(maps=found.maps[:, :count], classes=found.classes[:, :count])

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Return only the (B, K) probabilities; images and errors as in answer."""
        return self._run(OUTPUTS[:1], images)[0]

    def _run(self, outputs: tuple[str, ...], images: np.ndarray) -> list[np.ndarray]:
        try:
            return self._session.run(outputs, {INPUT: np.ascontiguousarray(images)})
        except Exception as error:
            raise RuntimeError(f"onnxruntime fails: {first_line(error)}") from error
