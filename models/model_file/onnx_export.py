"""Write the ONNX twin of a model file; only an export imports this, for it needs torch and onnx."""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from models.model_file.archive import MANIFEST
from models.model_file.classifier import PhotoClassifier
from models.model_file.onnx_check import INPUT, OUTPUTS, check_program


class _FullAnswer(nn.Module):
    """The answer of a classifier with the maps of all its classes; whoever asks takes the first."""

    def __init__(self, classifier: PhotoClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.classifier.answer(images, len(self.classifier.class_names))


def round_weights(network: nn.Module) -> None:
    """Round the weights of a network, in place, to values that 16 bits hold; biases stay.

    So the twin can store them in half the room and still compute with the numbers that the
    TorchScript has. A weight changes by at most 0.05 %, or 3e-8.
    """
    with torch.no_grad():
        for weight in network.parameters():
            rounded = weight.half()
            # Norms and biases are few, and their sums are where a rounding would show.
            if weight.dim() > 1 and rounded.isfinite().all():
                weight.copy_(rounded)


def export_twin(classifier: PhotoClassifier, manifest: str) -> bytes:
    """Return PhotoClassifier.answer as an ONNX program: float32, for batches of photos of any size.

    Its input is images, (B, 3, H, W) uint8; its outputs are those of answer, with all K maps.

    Args:
        classifier: In eval mode, around a network that is no TorchScript.
        manifest: The text of the model file's manifest.json, which goes into the metadata.

    Raises:
        Exception: Of any kind, where the network cannot be exported.
    """
    side = classifier.crop_px
    # Sides that differ from each other and from crop_px, so that none is taken for another.
    images = torch.zeros(2, 3, side + 8, side + 40, dtype=torch.uint8)
    batch, free = torch.export.Dim("batch", min=1), torch.export.Dim.AUTO
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, about its own future
        program = torch.export.export(
            _FullAnswer(classifier).eval(),
            (images,),
            dynamic_shapes=({0: batch, 2: free, 3: free},),
        )
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
        )
    model = exported.model_proto
    _tidy(model)
    _halve_weights(model, classifier.network)
    written = set_metadata(model.SerializeToString(), manifest)
    check_program(written, len(classifier.class_names))
    return written


def set_metadata(program: bytes, manifest: str) -> bytes:
    """Return an ONNX program whose metadata is the text of a manifest.json."""
    import onnx

    model = onnx.load_model_from_string(program)
    onnx.helper.set_model_props(model, {MANIFEST: manifest})
    return model.SerializeToString()


def _halve_weights(model: object, network: nn.Module) -> None:
    """Store weights that round_weights has rounded in 16 bits; onnxruntime widens them on loading.

    The exporter has multiplied each convolution with the scale of its batch norm, one number per
    output channel, which is taken out again and stored beside the weight.
    """
    from onnx import TensorProto, helper, numpy_helper

    weights = {f"classifier.network.{name}": each for name, each in network.named_parameters()}
    nodes, scales = [], []
    for tensor in model.graph.initializer:
        if tensor.name not in weights or len(tensor.dims) < 2:
            continue
        name, scaled = tensor.name, numpy_helper.to_array(tensor)
        weight = weights[name].detach().numpy()
        half = weight.astype(np.float16)
        flat = weight.reshape(len(weight), -1)
        largest = np.arange(len(flat)), np.abs(flat).argmax(1)
        ones = np.ones(len(flat), np.float32)
        scale = np.divide(
            scaled.reshape(flat.shape)[largest], flat[largest], out=ones, where=flat[largest] != 0
        ).reshape(-1, *[1] * (weight.ndim - 1))
        # Not where it was never rounded, or the exporter did something else to it.
        if not np.allclose(half.astype(np.float32) * scale, scaled, rtol=1e-6, atol=0):
            continue
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        scales.append(numpy_helper.from_array(scale, f"{name}.scale"))
        nodes += [
            helper.make_node("Cast", [f"{name}.half"], [f"{name}.wide"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [name]),
        ]
    model.graph.initializer.extend(scales)
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _tidy(model: object) -> None:
    """Remove what only the exporter's authors need.

    Every node says which lines of which files it comes from, so in which folder the project lies
    on the machine that exported it; and a model file names no such folder.
    """
    graph = model.graph
    for each in (*graph.node, *graph.input, *graph.output, *graph.initializer, graph):
        del each.metadata_props[:]
        each.doc_string = ""
    del graph.value_info[:]
    free = [
        (graph.input[0], 0, "batch"),
        (graph.input[0], 2, "height"),
        (graph.input[0], 3, "width"),
    ]
    for variable, axis, name in (*free, *((each, 0, "batch") for each in graph.output)):
        size = variable.type.tensor_type.shape.dim[axis]
        if size.dim_param:  # a fixed size stays, and is refused
            size.dim_param = name
