"""Write tables of tagged photos, in any of FORMATS, completely or not at all; read them."""

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from models.environment import require
from models.files import atomic
from models.tagging.geo_tables import read_geojson, read_xml, write_geojson, write_gpx, write_kml

Row = dict[str, Any]
COLUMNS: dict[str, type] = {
    **dict.fromkeys(("photo", "verdict", "landmark"), str),
    **dict.fromkeys(("place", "city", "country", "country_code"), str),
    **dict.fromkeys(("latitude", "longitude", "distance_km"), float),
    **{
        f"{what}_{rank}": kind
        for rank in range(1, 6)
        for what, kind in (("label", str), ("probability", float))
    },
    **{"known": bool, "known_score": float},
    **dict.fromkeys(("box_left", "box_top", "box_width", "box_height"), float),
    **dict.fromkeys(("taken", "camera"), str),
    **dict.fromkeys(("own_latitude", "own_longitude"), float),
    **dict.fromkeys(("place_level", "verdict_in_album"), str),
    **dict.fromkeys(("estimated_latitude", "estimated_longitude", "estimated_radius_km"), float),
    "estimated_from": str,
    **dict.fromkeys(("model", "model_version", "model_digest", "error"), str),
}
"""What a row holds; None where there is nothing to say, as for a photo that cannot be read."""
# Spreadsheets take a cell that begins like this for a formula, and file names can hold anything.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
ROWS_AT_ONCE = 10_000


class TableError(ValueError):
    """A table that cannot be written or read back; the message names the fix."""


def printable(text: str) -> str:
    r"""Return text that any file format can hold; bytes that are not text become ``\udc80``."""
    return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """Return printable text without line ends, for the terminal."""
    return " ".join(printable(text).split())


def check_format(path: Path) -> None:
    """Check that a table can be written under this name.

    Raises:
        TableError: It has no known extension.
        MissingPackage: Nothing that is installed writes the format.
    """
    if path.suffix.lower() not in FORMATS:
        raise TableError(f"{path} must end in {', '.join(FORMATS)}")
    if path.suffix.lower() == ".parquet":
        require("a .parquet table", ["pyarrow"])


def write_table(path: Path, rows: Iterable[Row]) -> None:
    """Write rows, one at a time, to a file that appears completely or not at all.

    Args:
        path: Its extension says the format.
        rows: Each with all COLUMNS.
    """
    write, _ = FORMATS[path.suffix.lower()]
    with atomic(path) as partial:
        write(partial, rows)


def read_table(path: Path) -> Iterator[Row]:
    """Read the rows of a file that write_table wrote, one at a time.

    Raises:
        TableError: It is not such a file.
    """
    _, read = FORMATS[path.suffix.lower()]
    try:
        for row in read(path):
            yield {name: row[name] for name in COLUMNS}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise TableError(
            f"{path} is not a table from this version of this command; delete it or name another "
            "with --out"
        ) from error


def _write_csv(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([_to_cell(row[name]) for name in COLUMNS] for row in rows)


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        for cells in csv.DictReader(file, strict=True):
            yield {name: _from_cell(cells[name], kind) for name, kind in COLUMNS.items()}


def _to_cell(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return value


def _from_cell(cell: str, kind: type) -> Any:
    if cell == "":
        return None
    if kind is bool:
        return {"true": True, "false": False}[cell]
    return cell.removeprefix("'") if kind is str else kind(cell)


def _write_json(path: Path, rows: Iterable[Row]) -> None:
    """Write an array with one row per line, so that it is read back line by line."""
    with path.open("w", newline="\n", encoding="utf-8") as file:
        end = "[\n"
        for row in rows:
            file.write(end + json.dumps(row, ensure_ascii=False, allow_nan=False))
            end = ",\n"
        file.write("[]\n" if end == "[\n" else "\n]\n")


def _read_json(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line not in ("[\n", "]\n", "[]\n"):
                yield json.loads(line.removesuffix("\n").removesuffix(","))


def parquet_schema() -> Any:
    """Return the columns as a pyarrow.Schema."""
    import pyarrow

    types = {str: pyarrow.string(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    return pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])


def _write_parquet(path: Path, rows: Iterable[Row]) -> None:
    import pyarrow
    import pyarrow.parquet

    schema, rows = parquet_schema(), iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE):
            yield from batch.to_pylist()


FORMATS = {
    ".csv": (_write_csv, _read_csv),
    ".json": (_write_json, _read_json),
    ".parquet": (_write_parquet, _read_parquet),
    ".geojson": (write_geojson, read_geojson),
    ".kml": (write_kml, read_xml),
    ".gpx": (write_gpx, read_xml),
}
