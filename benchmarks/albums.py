"""Simulate albums of trips, and measure what the trip adds to the answers of a model.

python benchmarks/albums.py --data DIR --outside DIR/everyday DIR/scenes DIR/other [--part test]

A seed draws each album: one to fourteen days; stops at landmarks, the next one mostly among the
eight nearest, half a day to three days each, a fifth of them without a photo of the landmark; by
road below 500 km (80 km/h), else by air (700 km/h and 4 hours). Days last from 9 to 21: visits of
landmarks (two to eight photos of it, others between), other photos in the city (3 km around it,
normally distributed), one day trip in ten days (20 to 60 km away), photos on the way. What is no
landmark is drawn from the photos of other things, in equal shares of their kinds. Two in three
photos come from a phone, which says its zone in 7 of 10 albums and else shows local time; the rest
from a camera without zone, whose clock shows the local time of the start, that of another zone, or
either one up to ten minutes wrong. Only the photos are real; times and true places are drawn.

--part val draws from the validation photos of the model and every other photo of half B of the
outside photos: parameters are chosen there. --part test draws from DIR/test and the rest of half B.
"""

import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script from anywhere

from models.album.album import Album
from models.album.sphere import arc_km, to_degrees, to_vectors
from models.environment import cores
from models.places.landmarks import Place
from models.predictor import Predictor
from models.sources.served_model import find_model
from models.tagging.table import Row
from models.tagging.tagger import Tagger
from models.tagging.workers import tag_photos
from train.data.folders import clean_class_name
from train.data.outside import find_outside
from train.data.sources import read_folders

ROAD_KMH, AIR_KMH, AIR_HOURS, ROAD_KM = 80.0, 700.0, 4.0, 500.0
EARTH_KM = 6371.0
NEAR_KM = (1, 25, 200)
CLOSE_HOURS = 2.0


@dataclass(frozen=True)
class AlbumsConfig:
    """Measure the trip on simulated albums."""

    data: Path
    """Photos of landmarks: the folder that the model was trained on."""
    outside: tuple[Path, ...]
    """Photos of other things, a folder per kind."""
    model: Path | None = None
    """A model file or a run folder; default: the bundled model."""
    part: Literal["val", "test"] = "val"
    """Which photos the albums are drawn from."""
    albums: int = 200
    """How many."""
    own_gps: float = 0.0
    """Fraction of the phone's photos that have a position."""
    sure_from: float | None = None
    """Call a photo sure from this known score on. The model's own threshold lets so few wrong names
    through that their number says little."""
    seed: int = 0
    """Of the first album; each next one takes the next."""


@dataclass
class Photo:
    """A photo of an album: which one, and what is true of it."""

    row: Row
    label: str | None
    hours: float
    vector: np.ndarray
    phone: bool


@dataclass
class Figures:
    """What is counted over all albums."""

    places: Counter
    close: Counter
    names: Counter
    radius: Counter


def tag(paths: list[Path], tagger: Tagger, desc: str) -> list[Row]:
    """Return the rows of photos."""
    found = tag_photos(map(str, paths), tagger, cores())
    return [row for _, row in tqdm(found, desc, len(paths), unit="photo", leave=False)]


def find_pools(config: AlbumsConfig, tagger: Tagger) -> tuple[dict[str, list[Row]], list[Row]]:
    """Return label -> rows of landmark photos, and kinds -> rows of others, tagged."""
    if config.part == "val":
        settings = tagger.predictor.manifest["config"]
        split = read_folders(config.data).split(
            [], settings["val_fraction"], settings["split_seed"]
        )
        if split.fingerprint != tagger.predictor.manifest["split"]["fingerprint"]:
            sys.exit(f"error: {tagger.predictor.path} was not trained on {config.data}")
        paths = [Path(split.root) / path for path in split.val]
        labels = [split.class_names[each] for each in split.labels(split.val)]
    else:
        paths = sorted(path for path in (config.data / "test").glob("*/*") if path.is_file())
        labels = [clean_class_name(path.parent.name) for path in paths]
    known: dict[str, list[Row]] = {}
    for label, row in zip(labels, tag(paths, tagger, "landmarks"), strict=True):
        known.setdefault(label, []).append(row)
    kinds = find_outside(config.outside, "B")
    half = int(config.part == "test")
    return known, {kind: tag(sorted(found)[half::2], tagger, kind) for kind, found in kinds.items()}


def nearby(rng: np.random.Generator, vector: np.ndarray, km: float) -> np.ndarray:
    """Return a place about so far away, in any direction."""
    away = rng.normal(size=3)
    away -= vector * (away @ vector)
    found = vector + away / np.linalg.norm(away) * km / EARTH_KM
    return found / np.linalg.norm(found)


class Traveller:
    """Draws one album."""

    def __init__(
        self,
        rng: np.random.Generator,
        known: dict[str, list[Row]],
        others: dict[str, list[Row]],
        places: dict[str, Place],
    ) -> None:
        """Draw the itinerary and its photos into self.photos."""
        self.rng, self.known, self.others = rng, known, list(others.values())
        self.labels = [label for label in places if known.get(label)]
        points = [(places[label].latitude, places[label].longitude) for label in self.labels]
        self.vectors = to_vectors(np.array(points))
        self.photos: list[Photo] = []
        self.hours, self.end = 9.0, 24.0 * int(rng.integers(1, 15))
        stop, visited = int(rng.integers(len(self.labels))), []
        while self.hours < self.end:
            self.stay(stop)
            visited.append(stop)
            km = arc_km(self.vectors, self.vectors[stop])
            near = [each for each in np.argsort(km) if each not in visited]
            following = rng.choice(near if rng.random() < 0.15 else near[:8])
            self.travel(stop, following, km[following])
            stop = following

    def stay(self, stop: int) -> None:
        """Spend half a day to three days at a stop."""
        rng, city = self.rng, self.vectors[stop]
        until = self.hours + rng.choice([6, 24, 48, 72], p=[0.3, 0.4, 0.2, 0.1])
        sights = [each for each in range(len(self.labels)) if arc_km(self.vectors[each], city) < 30]
        sights = [stop, *(each for each in sights if each != stop and rng.random() < 0.7)]
        if rng.random() < 0.2:
            sights = []
        while self.hours < min(until, self.end):
            clock = self.hours % 24
            if clock >= 21 or clock < 9:
                self.hours += (9 - clock) % 24
            elif sights and rng.random() < 0.35:
                sight = sights.pop(0) if rng.random() < 0.8 else sights[0]
                self.visit(sight)
            elif rng.random() < 0.03:
                place = nearby(rng, city, rng.uniform(20, 60))
                self.take(int(rng.integers(3, 10)), place, 1.0, rng.uniform(3, 5))
            else:
                place = nearby(rng, city, abs(rng.normal(0, 3)))
                self.take(int(rng.integers(0, 6)), place, 0.1, rng.uniform(0.3, 1.5))

    def visit(self, sight: int) -> None:
        """Photograph a landmark, and other things beside it."""
        rng, count = self.rng, int(self.rng.integers(2, 9))
        label, hours = self.labels[sight], float(rng.uniform(0.5, 2))
        rows = self.known[label]
        for row in rng.choice(len(rows), min(count, len(rows)), replace=False):
            self.add(rows[row], label, rng.uniform(0, hours), nearby(rng, self.vectors[sight], 0.3))
        self.take(int(rng.integers(0, 8)), self.vectors[sight], 0.5, hours)

    def travel(self, start: int, goal: int, km: float) -> None:
        """Go to the next stop, and take a photo or two on the way."""
        hours = km / ROAD_KMH if km < ROAD_KM else km / AIR_KMH + AIR_HOURS
        for _ in range(int(self.rng.integers(0, 4))):
            share = self.rng.random()
            way = self.vectors[start] * (1 - share) + self.vectors[goal] * share
            self.other(share * hours, way / np.linalg.norm(way))
        self.hours += hours

    def take(self, count: int, place: np.ndarray, km: float, hours: float) -> None:
        """Photograph other things so far around a place for some hours, then go on."""
        for _ in range(count):
            self.other(self.rng.uniform(0, hours), nearby(self.rng, place, km))
        self.hours += hours

    def other(self, delay: float, vector: np.ndarray) -> None:
        """Photograph something that is no landmark."""
        rows = self.others[self.rng.integers(len(self.others))]
        self.add(rows[self.rng.integers(len(rows))], None, delay, vector)

    def add(self, row: Row, label: str | None, delay: float, vector: np.ndarray) -> None:
        """Add a photo to the album."""
        phone = self.rng.random() < 2 / 3
        self.photos.append(Photo(row, label, self.hours + delay, vector, phone))


def build_rows(rng: np.random.Generator, photos: list[Photo], own_gps: float) -> list[Row]:
    """Return the rows of an album: what the cameras wrote of the true times and places."""
    begin = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(365)))
    has_zone = rng.random() < 0.7
    first = round(np.degrees(np.arctan2(*photos[0].vector[1::-1])) / 15)
    camera_zone = first if rng.random() < 0.5 else int(rng.integers(-8, 9))
    wrong = timedelta(minutes=float(rng.uniform(-10, 10)) if rng.random() < 0.5 else 0.0)
    rows = []
    for number, photo in enumerate(photos):
        # Hours count from midnight at the first stop.
        utc = begin + timedelta(hours=photo.hours - first)
        zone = round(np.degrees(np.arctan2(*photo.vector[1::-1])) / 15)
        if photo.phone:
            taken = utc.astimezone(timezone(timedelta(hours=zone)))
            taken = taken if has_zone else taken.replace(tzinfo=None)
        else:
            taken = (utc + timedelta(hours=camera_zone) + wrong).replace(tzinfo=None)
        north, east = to_degrees(photo.vector)
        own = photo.phone and rng.random() < own_gps
        rows.append(
            photo.row
            | {
                "photo": f"{number:05}.jpg",
                "taken": taken.isoformat(timespec="milliseconds"),
                "camera": "Phone" if photo.phone else "Camera",
                "own_latitude": float(north) if own else None,
                "own_longitude": float(east) if own else None,
            }
        )
    return rows


def count_album(photos: list[Photo], rows: list[Row], found: list[Row], figures: Figures) -> None:
    """Add what one album shows."""
    sure = np.array(
        [p.hours for p, row in zip(photos, rows, strict=True) if row["verdict"] == "sure"]
    )
    for photo, row, album in zip(photos, rows, found, strict=True):
        if row["own_latitude"] is not None:
            continue
        is_close = len(sure) > 0 and np.abs(sure - photo.hours).min() <= CLOSE_HOURS
        for way, verdict in (("alone", row["verdict"]), ("trip", album["verdict_in_album"])):
            right = "right" if row["label_1"] == photo.label else "wrong"
            figures.names[way, "sure", right] += verdict == "sure"
            figures.names[way, "sure or maybe", right] += verdict != "none"
            if photo.label is not None:
                continue
            place = None
            if verdict == "sure":
                place = (row["latitude"], row["longitude"])
            elif way == "trip" and album["estimated_latitude"] is not None:
                place = (album["estimated_latitude"], album["estimated_longitude"])
                km = arc_km(to_vectors(np.array(place)), photo.vector)
                figures.radius["inside"] += km <= album["estimated_radius_km"]
                figures.radius["all"] += 1
            tallies = [figures.places, figures.close] if is_close else [figures.places]
            for tally in tallies:
                tally[way, "all"] += 1
                if place is not None:
                    km = arc_km(to_vectors(np.array(place)), photo.vector)
                    tally[way, "placed"] += 1
                    tally[way, "wrong"] += km > NEAR_KM[-1]
                    for limit in NEAR_KM:
                        tally[way, limit] += km <= limit


def print_levels(predictor: Predictor, known: dict[str, list[Row]], others: list[Row]) -> None:
    """Print how often place_level is right where the verdict is maybe."""
    total = sum(map(len, known.values()))
    for level, name in (("city", "city"), ("country", "country_code")):
        right = wrong = 0
        for label, rows in known.items():
            place = predictor.place(label)
            true = {"city": place.city, "country_code": place.country}
            found = [row[name] == true[name] for row in rows if row["place_level"] == level]
            right, wrong = right + sum(found), wrong + len(found) - sum(found)
        strange = sum(row["place_level"] == level for row in others)
        share = right / max(right + wrong + strange * total / len(others), 1)
        print(
            f"place_level {level}: {right} of {right + wrong} right among {total} landmark photos, "
            f"{strange} among {len(others)} others; weighing both alike, {share:.1%} right"
        )


def main(config: AlbumsConfig) -> None:
    """Simulate, measure and print."""
    predictor = Predictor.load(find_model(config.model))
    known, others = find_pools(config, Tagger(predictor))
    places = {label: place for label in predictor.class_names if (place := predictor.place(label))}
    print_levels(predictor, known, [row for rows in others.values() for row in rows])
    if config.sure_from is not None:
        predictor.manifest["verdicts"]["sure_threshold"] = config.sure_from
        for row in (row for rows in [*known.values(), *others.values()] for row in rows):
            row["verdict"] = predictor.thresholds.judge(row["known_score"])
    figures = Figures(Counter(), Counter(), Counter(), Counter())
    photos = shifts = 0
    seconds = 0.0
    for number in tqdm(range(config.albums), "albums", leave=False):
        rng = np.random.default_rng(config.seed + number)
        taken = Traveller(rng, known, others, places).photos
        rows = build_rows(rng, taken, config.own_gps) if taken else []
        start = time.process_time()
        album = Album(rows, predictor)
        found = list(album.values())
        seconds += time.process_time() - start
        count_album(taken, rows, found, figures)
        photos, shifts = photos + len(rows), shifts + len(album.notes)
    print(
        f"{predictor.path}, {config.part} photos, {config.albums} albums from seed {config.seed}, "
        f"sure from {predictor.thresholds.sure:.2f}, "
        f"{photos:,} photos, {shifts} clocks moved, "
        f"{1e4 * seconds / max(photos, 1):.1f} s of one core per 10,000 photos"
    )
    for title, tally in (
        ("without a landmark", figures.places),
        ("of them within 2 h of a sure one", figures.close),
    ):
        for way in ("alone", "trip"):
            count = max(tally[way, "all"], 1)
            shares = ", ".join(f"{tally[way, km] / count:.1%} within {km} km" for km in NEAR_KM)
            print(
                f"{title} ({count:,}), {way}: {shares}, {tally[way, 'wrong'] / count:.2%} wrong by "
                f"more than 200 km, {tally[way, 'placed'] / count:.1%} placed"
            )
    for level in ("sure", "sure or maybe"):
        for way in ("alone", "trip"):
            right, wrong = (figures.names[way, level, each] for each in ("right", "wrong"))
            print(f"{level}, {way}: {right:,} right names, {wrong:,} wrong")
    inside = figures.radius["inside"] / max(figures.radius["all"], 1)
    print(f"estimates whose radius holds the true place: {inside:.1%}")


if __name__ == "__main__":
    main(tyro.cli(AlbumsConfig))
