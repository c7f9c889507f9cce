"""The import ladder: commands -> engine, exporting, evaluation, data ... -> models."""

import ast
import graphlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [
    ROOT / "demo.py",
    *sorted(ROOT.glob("models/**/*.py")),
    *sorted(ROOT.glob("train/**/*.py")),
]
# A folder or file may import from its own rung and from those before it, never from later ones.
LADDER = [
    {"models.environment", "models.files", "models.command_line"},
    {"models.photos", "models.places"},
    {"models.model_file", "models.networks"},
    {"models.predictor"},
    {"models.sources", "models.tagging"},
    {"models.album", "models.album_map", "models.metadata"},
    {"models.page", "models.tag", "demo"},
    {"train.config"},
    {"train.data"},
    {"train.evaluation"},
    {"train.cleaning", "train.comparison", "train.search"},
    {"train.engine"},
    {"train.exporting"},
    {"train.tracking"},
    {"train.engine.training_run", "train.engine.sagemaker"},  # all of the above in one run
    {"train"},  # the commands
    {"train.notebook_support"},
]
# Outside packages that few files may import, so that replacing them is little work.
ONLY_IN = {
    "albumentations": {"train/data/transforms.py"},
    "gradio": {
        *(
            f"models/page/{name}.py"
            for name in ("gradio_import", "http_api", "look", "photo_tab", "several_tab")
        ),
        "models/page/server.py",
    },
    "ipywidgets": {"models/page/notebook_widget.py"},
    "onnx": {"models/model_file/onnx_export.py"},
    "onnxruntime": {"models/model_file/onnx_twin.py"},  # which keeps it from reporting to others
    "wandb": {
        "train/tracking/registry.py",
        "train/tracking/wandb_run.py",
        "models/sources/wandb_artifacts.py",
        "models/environment.py",
    },
}


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def module_name(path: Path) -> str:
    """The dotted name of a file: models/photos/__init__.py is models.photos."""
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__")


def rung(module: str) -> int | None:
    """Height on the ladder, of the longest name that fits; None outside the project."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for height, names in enumerate(LADDER):
            if name in names:
                return height
    return None


def violations(path: Path, imports: set[str]) -> list[str]:
    """What a file imports against the ladder."""
    name = module_name(path)
    own = rung(name)
    wrong = []
    for module in imports:
        height = rung(module)
        owner = ONLY_IN.get(module.split(".")[0])
        above = height is not None and own is not None and height > own
        if above or (owner and path.relative_to(ROOT).as_posix() not in owner):
            wrong.append(f"{name} imports {module}")
    return wrong


def test_imports_run_downwards() -> None:
    assert len(SOURCES) > 10
    assert [text for path in SOURCES for text in violations(path, imported_modules(path))] == []


def test_nothing_but_tests_imports_tests() -> None:
    files = [*SOURCES, *ROOT.glob("benchmarks/*.py")]
    users = [
        path.name
        for path in files
        if any(module.split(".")[0] == "tests" for module in imported_modules(path))
    ]
    assert users == []


def test_the_ladder_catches_violations() -> None:
    assert violations(ROOT / "models" / "photos" / "reader.py", {"train.config"})
    assert violations(ROOT / "demo.py", {"train.data.split"})
    assert violations(ROOT / "train" / "data" / "batches.py", {"train.engine.trainer"})
    assert violations(ROOT / "train" / "data" / "batches.py", {"albumentations"})
    assert violations(ROOT / "train" / "engine" / "trainer.py", {"train.exporting.parity"})
    run = ROOT / "train" / "engine" / "training_run.py"
    assert not violations(run, {"train.exporting.confidence", "models.photos", "torch"})


def test_no_import_circle() -> None:
    names = {module_name(path): path for path in SOURCES}
    graph = {
        name: {
            other
            for other in imported_modules(path) & set(names)
            # Its own package is left out: an __init__ re-exports parts that import each other.
            if not f"{name}.".startswith(f"{other}.")
        }
        for name, path in names.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_train_has_commands_at_its_top() -> None:
    commands = {path.stem for path in ROOT.glob("train/*.py")} - {"__init__", "config"}
    assert len(commands) <= 18
    assert all("__main__" in (ROOT / "train" / f"{name}.py").read_text() for name in commands)


def test_torch_jit_lives_in_one_file() -> None:
    users = [path.name for path in SOURCES if "torch.jit" in path.read_text(encoding="utf-8")]
    assert users == ["torchscript.py"]


def test_no_file_outgrows_its_room() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lengths.items() if count > 400} == {}
