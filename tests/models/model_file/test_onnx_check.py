"""ONNX programs that were tampered with: refused before onnxruntime sees them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from models.model_file.archive import TWIN, add_extra, read_extra
from models.model_file.onnx_check import check_program
from models.model_file.torchscript import rewrite_manifest
from models.predictor import ModelFileError, Predictor
from tests.support.drawing import TOY_CLASSES
from tests.support.repacked_model import repack

Change = Callable[[onnx.ModelProto], object]


def named_elsewhere(model: onnx.ModelProto) -> None:
    """Take a weight from another file."""
    weight = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(weight, "/etc/hostname")
    weight.ClearField("raw_data")


def constant_elsewhere(model: onnx.ModelProto) -> None:
    """The same in an attribute of a node."""
    value = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[1], raw_data=b"1234")
    onnx.external_data_helper.set_external_data(value, "/etc/hostname")
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=value))


def subgraph(model: onnx.ModelProto) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["logits"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["flag"], ["unused"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)


def foreign_operator(model: onnx.ModelProto) -> None:
    node = helper.make_node("Gelu", ["logits"], ["unused"], domain="com.microsoft")
    model.graph.node.append(node)


def function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("", "Relu", ["x"], ["y"], [], []))


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.append(onnx.SparseTensorProto(dims=[1]))


def other_output(model: onnx.ModelProto) -> None:
    model.graph.output[2].name = "images"


def other_type(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING


def fixed_size(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32


CHANGES: dict[str, list[Change]] = {
    "tensor of its ONNX program has a field that no export writes": [
        named_elsewhere,
        constant_elsewhere,
    ],
    "attribute of its ONNX program has a field": [subgraph],
    "operators outside the standard": [
        foreign_operator,
        lambda model: model.opset_import.append(helper.make_opsetid("com.microsoft", 1)),
    ],
    "model of its ONNX program has a field": [function],
    "graph of its ONNX program has a field": [sparse],
    "takes or gives something else": [
        other_output,
        other_type,
        fixed_size,
        lambda model: model.graph.output.pop(),
        lambda model: model.graph.input.append(model.graph.input[0]),
        lambda model: model.graph.output[0].type.tensor_type.ClearField("shape"),
    ],
    "no graph": [lambda model: model.ClearField("graph")],
    "belongs to another model file": [
        lambda model: model.ClearField("metadata_props"),
        lambda model: helper.set_model_props(model, {"manifest.json": "{}"}),
    ],
    "onnxruntime does not load it": [
        lambda model: model.graph.initializer.pop(),
        lambda model: setattr(model.graph.node[0], "op_type", "NoSuchOperator"),
    ],
}


@pytest.mark.parametrize(
    ("message", "change"),
    [(message, change) for message, changes in CHANGES.items() for change in changes],
)
def test_a_changed_program_is_refused(
    toy_twin: Path, tmp_path: Path, capfd: pytest.CaptureFixture, message: str, change: Change
) -> None:
    model = onnx.load_model_from_string(read_extra(toy_twin, TWIN))
    change(model)
    path = repack(toy_twin, tmp_path / "model.pt", f"/{TWIN}", model.SerializeToString())
    with pytest.raises(ModelFileError, match=message) as caught:
        Predictor.load(path)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr().err == ""


def test_a_cut_or_garbled_program_is_refused(toy_twin: Path, tmp_path: Path) -> None:
    program = read_extra(toy_twin, TWIN)
    cuts = [program[: len(program) * part // 40] for part in range(40)]
    garbled = [b"\xff" * 40, b"\x08" * 3, b"hello", program + b"\x0a", program + program]
    # A number where a name is expected; taken for a length, it would ask for all memory.
    garbled.append(program + b"\x72\x0b\x08" + b"\xff" * 8 + b"\x7f\x12\x00")
    for index, content in enumerate(cuts + garbled):
        path = repack(toy_twin, tmp_path / f"{index}.pt", f"/{TWIN}", content)
        with pytest.raises(ModelFileError):
            Predictor.load(path)


def test_a_program_for_other_classes_is_refused(toy_twin: Path, tmp_path: Path) -> None:
    program = read_extra(toy_twin, TWIN)
    assert set(check_program(program, len(TOY_CLASSES))) == {"manifest.json"}
    with pytest.raises(ValueError, match="takes or gives something else"):
        check_program(program, len(TOY_CLASSES) - 1)


def test_the_program_of_another_file_is_refused(
    toy_model: Path, toy_twin: Path, tmp_path: Path
) -> None:
    path = shutil.copy(toy_model, tmp_path / "model.pt")
    rewrite_manifest(path, Predictor.load(path).manifest | {"name": "other"})
    add_extra(path, TWIN, read_extra(toy_twin, TWIN))
    with pytest.raises(ModelFileError, match="belongs to another model file"):
        Predictor.load(path)
