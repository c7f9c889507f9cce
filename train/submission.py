"""Predictions on a folder of photos, and one archive to hand in: python -m train.submission.

The archive holds the notebooks as HTML, the code, the results and a list of checksums. The same
inputs give the same bytes. It holds no photo.
"""

import csv
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from tqdm import tqdm

from models.files import atomic, code_commit, file_digest
from models.photos import PHOTO_EXTENSIONS, PhotoError
from models.predictor import ModelFileError, Predictor
from models.sources.served_model import find_model
from train.data.split import DataError

ROOT = Path(__file__).parents[1]
# What is the project's own, where no git says so.
CODE = ("models", "train", "sweeps", "notebooks", "benchmarks", "tests")
HEAVY = {".pt", ".pt2"}
# Of a run folder, as far as it has them; none of them shows a photo.
RESULTS = ("MODEL_CARD.md", "metrics.jsonl", "curves.png", "confusion.png")
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # zip knows nothing earlier


class SubmissionError(ValueError):
    """An archive that cannot be made; the message names the fix."""


@dataclass(frozen=True)
class SubmissionConfig:
    """Classify a folder of photos, and pack notebooks, code and results into one file."""

    data: Path
    """Folder of photos, flat or nested (its test/, where there is one); labels are not needed."""
    model: Path | None = None
    """A model file or a run folder; none: the bundled model."""
    out: Path = Path("submission.zip")
    """The archive; the predictions also lie beside it, as .csv."""
    notebooks: Path = ROOT / "notebooks"
    """Folder of the notebooks to show, with their outputs."""


def list_photos(data: Path) -> tuple[Path, list[Path]]:
    """The folder whose photos count, and its photos at any depth, sorted.

    Raises:
        DataError: No folder, or no photo.
    """
    root = data / "test" if (data / "test").is_dir() else data
    if not root.is_dir():
        raise DataError(f"no data folder at {data}")
    photos = [
        path
        for path in sorted(root.rglob("*"), key=lambda path: path.relative_to(root).as_posix())
        if path.suffix.lower() in PHOTO_EXTENSIONS and path.is_file() and path.name[0] != "."
    ]
    if not photos:
        raise DataError(f"no photos in {root}")
    return root, photos


def predict(predictor: Predictor, root: Path, photos: list[Path]) -> tuple[str, dict[str, str]]:
    """The predictions as CSV text, one line a photo, and why photos could not be read, by id.

    Columns: id (the path below root), then label_1, probability_1, ..., the best first.

    Raises:
        DataError: None of them can be read.
    """
    count = min(5, len(predictor.class_names))
    columns = [f"{what}_{i}" for i in range(1, count + 1) for what in ("label", "probability")]
    text, unreadable = io.StringIO(), {}
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *columns])
    for photo in tqdm(photos, "predicting", unit="photo"):
        name = photo.relative_to(root).as_posix()
        try:
            best = predictor.classify(photo, count)
        except PhotoError as error:
            unreadable[name] = str(error)
            continue
        writer.writerow(
            [name, *(cell for label, value in best.items() for cell in (label, f"{value:.4f}"))]
        )
    if len(unreadable) == len(photos):
        raise DataError(f"none of the {len(photos)} photos in {root} can be read")
    return text.getvalue(), unreadable


def render_notebooks(folder: Path) -> dict[str, bytes]:
    """Each notebook of a folder as one HTML page, by its file name.

    Raises:
        SubmissionError: No notebooks, one that shows what may be a photo, or no nbconvert.
    """
    try:
        import nbformat
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise SubmissionError(
            f"notebooks become HTML with nbconvert, which is missing ({error}); "
            "pip install -r requirements.txt"
        ) from error
    pages = {}
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        if not any(cell.outputs for cell in cells):
            print(f"{path.name} has no outputs: run it, save it, and pack again")
        notebook.metadata.pop("widgets", None)  # would hold a photo that was put into the app
        for number, cell in enumerate(cells, 1):
            if any("image/jpeg" in output.get("data", {}) for output in cell.outputs):
                raise SubmissionError(
                    f"{path}: code cell {number} shows a JPEG, which may be a photo of the data "
                    "set; draw it as a figure (PNG) if it is none, or clear that output"
                )
        page, _ = HTMLExporter().from_notebook_node(
            notebook, resources={"metadata": {"name": path.stem}}
        )
        pages[f"{path.stem}.html"] = page.encode()
    if not pages:
        raise SubmissionError(f"no notebooks in {folder}; give their folder with --notebooks")
    return pages


def list_code(root: Path = ROOT) -> list[Path]:
    """The project's files: those that git tracks, else those of its known folders.

    Pictures and model files are left out: they are data, and could be photos.
    """
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True,
            timeout=30,
        ).stdout  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        listed = ""
    files = [root / name for name in listed.split("\0") if name]
    if not files:
        files = [path for path in root.iterdir() if path.name[0] != "."]
        files += [
            path
            for folder in CODE
            for path in (root / folder).rglob("*")
            if "__pycache__" not in path.parts and ".ipynb_checkpoints" not in path.parts
        ]
    left_out = PHOTO_EXTENSIONS | HEAVY | {".zip"}
    return sorted(path for path in files if path.is_file() and path.suffix.lower() not in left_out)


def collect_results(predictor: Predictor, rows: str, about: dict[str, object]) -> dict[str, bytes]:
    """The files of results/ by name: predictions, what they are of, and the run's own figures."""
    results = {
        "predictions.csv": rows.encode(),
        "submission.json": json.dumps(about, indent=1, ensure_ascii=False).encode(),
        "manifest.json": json.dumps(predictor.manifest, indent=1, ensure_ascii=False).encode(),
    }
    folder = predictor.path.parent
    return results | {
        name: (folder / name).read_bytes() for name in RESULTS if (folder / name).is_file()
    }


def pack(files: dict[str, bytes], out: Path) -> None:
    """Write a zip archive, sorted and without times, and SHA256SUMS of all that is in it.

    Args:
        files: Path inside the archive -> content; all below one folder named like the archive.
        out: The archive; it appears whole or not at all.
    """
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(files.items())
    )
    with (
        atomic(out) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name, content in sorted({**files, "SHA256SUMS": sums.encode()}.items()):
            entry = zipfile.ZipInfo(f"{out.stem}/{name}", LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, also when packed elsewhere
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)


def submit(config: SubmissionConfig) -> str:
    """Predict and pack.

    Returns:
        A summary for people.

    Raises:
        DataError: No photo that can be read.
        SubmissionError: Something that cannot be packed.
        ModelFileError: No model.
    """
    if config.out.suffix != ".zip":
        raise SubmissionError(f"--out {config.out} must end in .zip")
    root, photos = list_photos(config.data)
    predictor = Predictor.load(find_model(config.model))
    pages = render_notebooks(config.notebooks)
    rows, unreadable = predict(predictor, root, photos)
    about = {
        "model": predictor.manifest.get("name", "unnamed"),
        "model_sha256": predictor.digest,
        "commit": code_commit(),
        "photos": len(photos) - len(unreadable),
        "unreadable": unreadable,
    }
    files = {f"notebooks/{name}": page for name, page in pages.items()}
    files |= {
        f"code/{path.relative_to(ROOT).as_posix()}": path.read_bytes() for path in list_code()
    }
    results = collect_results(predictor, rows, about)
    files |= {f"results/{name}": content for name, content in results.items()}
    refuse_photos(files, photos)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    pack(files, config.out)
    table = config.out.with_suffix(".csv")
    table.write_text(rows, encoding="utf-8", newline="")
    lines = [f"not read: {reason}" for reason in unreadable.values()]
    lines.append(
        f"{table}: {about['photos']} photos by {about['model']} ({predictor.digest[:12]})\n"
        f"{config.out}: {len(files)} files, sha256 {file_digest(config.out)}"
    )
    return "\n".join(lines)


def refuse_photos(files: dict[str, bytes], photos: list[Path]) -> None:
    """Raise SubmissionError if a file of the archive is one of these photos, whatever its name."""
    sizes = {path.stat().st_size for path in photos}
    suspects = {name: content for name, content in files.items() if len(content) in sizes}
    digests = {file_digest(path): path for path in photos} if suspects else {}
    for name, content in suspects.items():
        if photo := digests.get(hashlib.sha256(content).hexdigest()):
            raise SubmissionError(f"{name} is the photo {photo}; take it out of the project")


def main(config: SubmissionConfig) -> int:
    """Predict, pack and print."""
    try:
        print(submit(config))
    except (SubmissionError, DataError, ModelFileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(SubmissionConfig, prog="python -m train.submission")))
