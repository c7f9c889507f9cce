"""Check an ONNX program that may come from anybody, before onnxruntime sees it.

Reads protobuf by itself: the onnx package would be 30 MB more to install for a page. Only what the
exports of this project write is let through; onnxruntime could otherwise be told to read weights
from other files, or to run operators outside the standard. Messages and fields are those of
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3.
"""

from collections.abc import Iterator
from typing import Any

INPUT = "images"
OUTPUTS = ("probabilities", "logits", "known_scores", "maps", "classes")
UINT8, FLOAT, INT64 = 2, 1, 7  # TensorProto.DataType

# Message -> number of a field -> the message in it, or None for a value. What is missing is
# refused: subgraphs and functions (so nothing is nested deeper than this), sparse tensors,
# and external_data and data_location of tensors, which name other files.
FIELDS: dict[str, dict[int, str | None]] = {
    "model": {
        **dict.fromkeys((1, 2, 3, 4, 5, 6), None),  # ir_version, producer, doc_string ...
        7: "graph",
        8: "operator set",
        14: "property",
    },
    "property": {1: None, 2: None},  # key, value
    "operator set": {1: None, 2: None},  # domain, version
    "graph": {1: "node", 2: None, 5: "tensor", 10: None, 11: "variable", 12: "variable"},
    "node": {**dict.fromkeys((1, 2, 3, 4, 6, 7), None), 5: "attribute"},  # 7: domain
    "attribute": {**dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 20), None), 5: "tensor"},
    "tensor": dict.fromkeys((1, 2, 4, 5, 7, 8, 9, 10, 11, 12), None),
    "variable": {1: None, 2: "type", 3: None},
    "type": {1: "tensor type"},
    "tensor type": {1: None, 2: "shape"},  # elem_type
    "shape": {1: "dimension"},
    "dimension": {1: None, 2: None},  # dim_value, dim_param
}
STANDARD = (b"", b"ai.onnx")
DAMAGED = "its ONNX program is damaged"
Message = dict[int, list[Any]]


def check_program(program: bytes, class_count: int) -> dict[str, str]:
    """Refuse an ONNX program that is not the answer of a PhotoClassifier.

    Args:
        program: The content of a .onnx file.
        class_count: Number of labels, K.

    Returns:
        Its metadata: key -> value.

    Raises:
        ValueError: With the reason in one line.
    """
    model = _parse(memoryview(program), "model")
    graphs = model.get(7, [])
    if len(graphs) != 1:
        raise ValueError("its ONNX program has no graph, or several")
    nodes = graphs[0].get(1, [])
    domains = [*_values(model.get(8, []), 1), *_values(nodes, 7)]
    if any(domain not in STANDARD for domain in domains):
        raise ValueError("its ONNX program uses operators outside the standard")
    inputs = [_signature(each) for each in graphs[0].get(11, [])]
    outputs = [_signature(each) for each in graphs[0].get(12, [])]
    free, labels = None, class_count
    maps = outputs[3][2][2:] if len(outputs) == 5 else []  # their size is the network's affair
    expected = [
        (OUTPUTS[0], FLOAT, [free, labels]),
        (OUTPUTS[1], FLOAT, [free, labels]),
        (OUTPUTS[2], FLOAT, [free]),
        (OUTPUTS[3], FLOAT, [free, labels, *maps]),
        (OUTPUTS[4], INT64, [free, labels]),
    ]
    if inputs != [(INPUT, UINT8, [free, 3, free, free])] or outputs != expected or len(maps) != 2:
        raise ValueError("its ONNX program takes or gives something else than a model file does")
    return {_text(each, 1): _text(each, 2) for each in model.get(14, [])}


def _signature(variable: Message) -> tuple[str, int, list[int | None]]:
    """Return name, element type and shape of an input or output; None is a free dimension."""
    [kind] = variable.get(2, [{}])
    [tensor] = kind.get(1, [{}])
    [shape] = tensor.get(2, [{}])
    sizes = [_last(each, 1, None) for each in shape.get(1, [])]
    return _text(variable, 1), _last(tensor, 1, 0), sizes


def _values(messages: list[Message], number: int) -> Iterator[Any]:
    """Yield every value of a field, repeated ones included: readers differ in which one counts."""
    for message in messages:
        yield from message.get(number, [])


def _last(message: Message, number: int, default: Any) -> Any:
    return message.get(number, [default])[-1]


def _text(message: Message, number: int) -> str:
    value = _last(message, number, memoryview(b""))
    if isinstance(value, int):
        raise ValueError(DAMAGED)
    return bytes(value).decode()


def _parse(data: memoryview, kind: str) -> Message:
    """Read a message: number of a field -> its values, in order.

    Raises:
        ValueError: It is damaged, or has a field that FIELDS does not allow.
    """
    found: Message = {}
    for number, value in _read_fields(data):
        if number not in FIELDS[kind]:
            raise ValueError(f"a {kind} of its ONNX program has a field that no export writes")
        inside = FIELDS[kind][number]
        if inside is not None:
            if isinstance(value, int):
                raise ValueError(DAMAGED)
            value = _parse(value, inside)
        found.setdefault(number, []).append(value)
    return found


def _read_fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield number and value of each field; a value is an int, or a part of data."""
    place = 0
    while place < len(data):
        key, place = _read_number(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _read_number(data, place)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, place = _read_number(data, place)
        if size is None or place + size > len(data):
            raise ValueError(DAMAGED)
        yield key >> 3, data[place : place + size]
        place += size


def _read_number(data: memoryview, place: int) -> tuple[int, int]:
    """Read a number of up to ten bytes; return it and where it ends."""
    number = 0
    for index, byte in enumerate(data[place : place + 10]):
        number |= (byte & 127) << 7 * index
        if byte < 128:
            return number, place + index + 1
    raise ValueError(DAMAGED)
