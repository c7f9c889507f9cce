"""Predict a folder of photos and pack an archive to hand in: python -m train.submission --data DIR.

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
from typing import TYPE_CHECKING

from models.command_line import parse_flags
from models.environment import TRAINING, MissingPackage, require
from models.files import atomic, check_folder, code_commit, file_digest
from models.model_file.model_path import ModelFileError, find_model
from models.photos import PHOTO_EXTENSIONS
from models.photos.folder_walk import walk_files
from train.data import folders
from train.data.folders import DataError, part_folder

if TYPE_CHECKING:
    from models.predictor import Predictor

EXAMPLES = (
    "python -m train.submission --data DIR",
    "python -m train.submission --model runs/ID --data DIR --out submission.zip",
)
ROOT = Path(__file__).parents[1]
# The project's folders, where git is not there to list its files.
CODE = ("models", "train", "sweeps", "notebooks", "benchmarks", "tests")
HEAVY = {".pt", ".pt2"}
# Files of a run folder, as far as it has them; none of them shows a photo.
RESULTS = ("MODEL_CARD.md", "metrics.jsonl", "curves.png", "confusion.png")
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # zip knows nothing earlier


class SubmissionError(ValueError):
    """An archive that cannot be packed; the message names the fix."""


@dataclass(frozen=True)
class SubmissionConfig:
    """Classify a folder of photos, and pack notebooks, code and results into one file."""

    data: Path
    """Folder of photos, flat or nested (its test/, where there is one); labels are not needed."""
    model: Path | None = None
    """A model file or a run folder; none: the bundled model."""
    out: Path = Path("submission.zip")
    """The archive; the predictions are also written beside it, as .csv."""
    notebooks: Path = ROOT / "notebooks"
    """Folder of the notebooks to include, with their outputs."""


def list_photos(data: Path) -> tuple[Path, list[Path]]:
    """Return the folder whose photos count, and its photos at any depth, sorted by their ids.

    Raises:
        DataError: No folder, or no photo.
    """
    folders.check_data_folder(data)
    root = part_folder(data, "test")
    photos = [path for path in folders.list_photos(root) if path.is_file()]  # no dead links
    photos.sort(key=lambda path: path.relative_to(root).as_posix())
    if not photos:
        raise DataError(f"no photos in {root}")
    return root, photos


def predict(predictor: "Predictor", root: Path, photos: list[Path]) -> tuple[str, dict[str, str]]:
    """Return the predictions as CSV text, and id -> why, of photos that could not be read.

    Columns: id (the path below root), then label_1, probability_1, ..., the best first.

    Raises:
        DataError: None of them can be read.
    """
    from train.evaluation.scoring import score_photos

    ids = [photo.relative_to(root).as_posix() for photo in photos]
    scores = score_photos(predictor, root, ids, "predicting", True, keep_bar=True)
    count = min(5, len(predictor.class_names))
    columns = [f"{what}_{i}" for i in range(1, count + 1) for what in ("label", "probability")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", *columns])
    for position, name in enumerate(scores.photos):
        best = scores.best(position, count)
        cells = [cell for label, value in best for cell in (label, f"{value:.4f}")]
        writer.writerow([name, *cells])
    return text.getvalue(), scores.unreadable


def list_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in a folder, sorted.

    Raises:
        SubmissionError: There are none.
    """
    if not (paths := sorted(folder.glob("*.ipynb"))):
        raise SubmissionError(f"no notebooks in {folder}; give their folder with --notebooks")
    return paths


def render_notebooks(folder: Path) -> dict[str, bytes]:
    """Return each notebook of a folder as one HTML page, by its file name.

    Raises:
        SubmissionError: No notebooks, or one that shows what may be a photo.
    """
    paths = list_notebooks(folder)
    import nbformat
    from nbconvert import HTMLExporter

    pages = {}
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
        if not any(cell.outputs for cell in cells):
            print(f"{path.name} has no outputs: run it, save it, and pack again")
        notebook.metadata.pop("widgets", None)  # would hold a photo that was put into the app
        for number, cell in enumerate(cells, 1):
            # matplotlib saves figures as PNG: a JPEG is most likely a photo, shown by PIL.
            if any("image/jpeg" in output.get("data", {}) for output in cell.outputs):
                raise SubmissionError(
                    f"{path}: code cell {number} shows a JPEG, which may be a photo of the data "
                    "set; draw it as a figure (PNG) if it is none, or clear that output"
                )
        page, _ = HTMLExporter().from_notebook_node(
            notebook, resources={"metadata": {"name": path.stem}}
        )
        pages[f"{path.stem}.html"] = page.encode()
    return pages


def list_code(root: Path = ROOT) -> list[Path]:
    """List the project's files: those that git tracks, else those of its known folders.

    Pictures and model files are left out: they are data, and could be photos.
    """
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        listed = ""
    files = [root / name for name in listed.split("\0") if name]
    if not files:
        files = [path for path in root.iterdir() if path.name[0] != "."]
        known = [root / name for name in CODE if (root / name).is_dir()]
        found = [path for folder in known for path in walk_files(folder)]
        files += [path for path in found if "__pycache__" not in path.parts]
    left_out = PHOTO_EXTENSIONS | HEAVY | {".zip"}
    return sorted(path for path in files if path.is_file() and path.suffix.lower() not in left_out)


def collect_results(
    predictor: "Predictor", rows: str, about: dict[str, object]
) -> dict[str, bytes]:
    """Return the files of results/ by name: predictions, their origin, and the run's figures."""
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
    """Write a zip archive, sorted and without times, with SHA256SUMS of everything in it.

    Args:
        files: Path -> content; the archive has all of it in one folder that is named like itself.
        out: The archive; it appears complete or not at all.
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


def check_flags(config: SubmissionConfig) -> tuple[Path, list[Path]]:
    """Check what a person mistypes, before torch is imported; return what list_photos returns.

    Raises:
        DataError: No data folder, or no photo in it.
        ModelFileError: No such model file.
        SubmissionError: --out is no .zip, or there are no notebooks.
        MissingPackage: No nbconvert, which writes the notebooks as HTML.
        ValueError: Nothing can be written to the folder of --out.
    """
    require("a submission", ["nbconvert"])
    if config.out.suffix != ".zip":
        raise SubmissionError(f"--out {config.out} must end in .zip")
    root, photos = list_photos(config.data)
    find_model(config.model)
    list_notebooks(config.notebooks)
    check_folder(config.out.absolute().parent, "the folder of --out")
    return root, photos


def submit(config: SubmissionConfig) -> str:
    """Predict and pack.

    Returns:
        A summary for people.

    Raises:
        DataError: No photo that can be read.
        SubmissionError: Something that cannot be packed.
        ModelFileError: No model.
        MissingPackage: No nbconvert.
    """
    root, photos = check_flags(config)
    from models.predictor import Predictor

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
    # Most files differ in size from every photo: only the others need a digest.
    sizes = {path.stat().st_size for path in photos}
    suspects = {name: content for name, content in files.items() if len(content) in sizes}
    digests = {file_digest(path): path for path in photos} if suspects else {}
    for name, content in suspects.items():
        if photo := digests.get(hashlib.sha256(content).hexdigest()):
            raise SubmissionError(f"{name} is the photo {photo}; take it out of the project")


def main(config: SubmissionConfig) -> int:
    """Predict, pack and print."""
    status = 2
    try:
        check_flags(config)
        status = 1
        print(submit(config))
    except (ValueError, OSError, MissingPackage) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ModelFileError) else status  # also one that is damaged
    return 0


if __name__ == "__main__":
    sys.exit(main(parse_flags(SubmissionConfig, "python -m train.submission", EXAMPLES, TRAINING)))
