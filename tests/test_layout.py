"""The import ladder of the README: command lines -> training -> models; demo.py -> models."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "demo.py", *sorted(ROOT.glob("models/**/*.py")), *sorted(ROOT.glob("train/*.py"))]
# Lower may not import higher. Modules of train/ not named here are command lines, on top.
PARTS = {
    "train.config": 1, "train.cache": 1, "train.candidates": 1, "train.checkpoint": 1,
    "train.metrics": 1, "train.calibration": 1, "train.known": 1, "train.plots": 1,
    "train.stop": 1, "train.transforms": 1,
    "train.card": 2, "train.data": 2, "train.device": 2, "train.phases": 2,
    "train.predictions": 2, "train.sweep_file": 2, "train.split": 3, "train.duplicates": 1,
    "train.sources": 4, "train.scan": 3, "train.judge": 4, "train.label_noise": 1,
    "train.report": 4, "train.engine": 3, "train.network": 3,
    "train.trust": 4, "train.export": 5, "train.tracking": 5, "train.run": 6,
    "train.pretraining": 4, "train.unlabelled": 5,
    "train.cost": 1, "train.front": 1, "train.contender": 2, "train.choice": 3,
    "train.finished": 3,
    "train.sagemaker": 7, "train.drawings": 1, "train.drawn": 2, "train.lesson": 7,
    "train.html": 1, "train.robustness": 1, "train.summary": 3, "train.views": 3,
    "train.wording": 1, "train.evaluation_plots": 3, "train.findings": 4,
    "train.views_report": 4, "train.evaluation_report": 5,
}  # fmt: skip
COMMANDS = 7
# Outside packages that one file alone may import, so that replacing them is one file's work.
ONLY_IN = {
    "albumentations": {"train/transforms.py"},
    "gradio": {"models/page.py", "models/listen.py"},
    "ipywidgets": {"models/widget.py"},
    "wandb": {"train/tracking.py", "models/source.py"},
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


def rung(module: str) -> int | None:
    """Height on the ladder; None for modules outside the project."""
    parts = module.split(".")
    if parts[0] == "models":
        return 0
    if parts[0] == "train" and len(parts) > 1:
        return PARTS.get(".".join(parts[:2]), COMMANDS)
    return None


def violations(path: Path, imports: set[str]) -> list[str]:
    """What a file imports against the ladder."""
    name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
    own = 0 if name in ("demo", "models") or name.startswith("models.") else rung(name)
    wrong = []
    for module in imports:
        height = rung(module)
        owner = ONLY_IN.get(module.split(".")[0])
        above = height is not None and not module.startswith(name) and height > (own or 0)
        if above or (owner and path.relative_to(ROOT).as_posix() not in owner):
            wrong.append(f"{name} imports {module}")
    return wrong


def test_imports_run_downwards() -> None:
    assert len(SOURCES) > 10
    assert [text for path in SOURCES for text in violations(path, imported_modules(path))] == []


def test_the_ladder_catches_violations() -> None:
    assert violations(ROOT / "models" / "photos.py", {"train.config"})
    assert violations(ROOT / "demo.py", {"train.data.Split"})
    assert violations(ROOT / "train" / "data.py", {"train.engine"})
    assert violations(ROOT / "train" / "data.py", {"albumentations"})
    assert not violations(ROOT / "train" / "run.py", {"train.engine", "models.photos", "torch"})


def test_torch_jit_lives_in_one_file() -> None:
    users = [path.name for path in SOURCES if "torch.jit" in path.read_text(encoding="utf-8")]
    assert users == ["predictor.py"]


def test_no_file_outgrows_its_room() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lengths.items() if count > 300} == {}
