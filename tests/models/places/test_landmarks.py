import csv
import json
import math
import re
import zipfile
from itertools import combinations
from pathlib import Path

import pytest
import reverse_geocode

from models.places.landmarks import (
    LANDMARKS,
    Place,
    PlaceError,
    country_name,
    country_names,
    distance_km,
    find_places,
    map_url,
    read_places,
)

ROOT = Path(__file__).parents[3]
UDACITY = re.split(
    ", ",
    "Haleakala National Park, Mount Rainier National Park, Ljubljana Castle, Dead Sea, "
    "Wroclaws Dwarves, London Olympic Stadium, Niagara Falls, Stonehenge, Grand Canyon, "
    "Golden Gate Bridge, Edinburgh Castle, Mount Rushmore National Memorial, Kantanagar Temple, "
    "Yellowstone National Park, Terminal Tower, Central Park, Eiffel Tower, Changdeokgung, "
    "Delicate Arch, Vienna City Hall, Matterhorn, Taj Mahal, Moscow Raceway, Externsteine, "
    "Soreq Cave, Banff National Park, Pont du Gard, Seattle Japanese Garden, "
    "Sydney Harbour Bridge, Petronas Towers, Brooklyn Bridge, Washington Monument, "
    "Hanging Temple, Sydney Opera House, Great Barrier Reef, Monumento a la Revolucion, "
    "Badlands National Park, Atomium, Forth Bridge, Gateway of India, Stockholm City Hall, "
    "Machu Picchu, Death Valley National Park, Gullfoss Falls, Trevi Fountain, Temple of Heaven, "
    "Great Wall of China, Prague Astronomical Clock, Whitby Abbey, Temple of Olympian Zeus",
)
BUILT = {
    "bridge",
    "building",
    "castle",
    "church",
    "clock",
    "fountain",
    "garden",
    "gate",
    "monument",
    "mosque",
    "palace",
    "ruins",
    "sculpture",
    "stadium",
    "temple",
    "tomb",
    "tower",
    "wall",
}
WILD = {"canyon", "cave", "lake", "mountain", "park", "reef", "rock", "waterfall"}
# Class -> the geocoder's country, where the table is right to differ.
OTHER_COUNTRY = {
    "Trevi Fountain": "VA",  # in Rome, whose own point is a little farther away than Vatican City
}
SAME_SPOT = {("Mount Rushmore", "Mount Rushmore National Memorial")}  # one landmark of two sets


@pytest.fixture(scope="module")
def places() -> dict[str, Place]:
    return read_places(LANDMARKS)


def write_table(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "landmarks.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_all_classes_of_both_sets_have_a_place(places: dict[str, Place]) -> None:
    # Read as any archive, whatever the version of its network.
    with zipfile.ZipFile(ROOT / "models" / "bundled" / "landmarks.pt") as file:
        manifest = next(name for name in file.namelist() if name.endswith("extra/manifest.json"))
        bundled = json.loads(file.read(manifest))["class_names"]
    assert len(bundled) == len(UDACITY) == len(set(UDACITY)) == 50
    assert set(places) == {*bundled, *UDACITY}


def test_the_table_is_sorted_and_in_its_vocabulary(places: dict[str, Place]) -> None:
    with LANDMARKS.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert header == [
        "class_name",
        "name",
        "kind",
        "city",
        "country",
        "latitude",
        "longitude",
        "wikidata",
    ]
    assert list(places) == sorted(places)
    assert {place.kind for place in places.values()} <= BUILT | WILD
    assert all(place.city and place.country for place in places.values())
    assert places["Monumento a la Revolucion"].name == "Monumento a la Revolución"
    assert places["Wroclaws Dwarves"].name == "Wrocław's Dwarves"
    items = [(place.wikidata, place.name) for place in places.values() if place.wikidata]
    twice = {name for item, name in items if [other for other, _ in items].count(item) > 1}
    assert twice == {name for pair in SAME_SPOT for name in pair}


def test_no_two_landmarks_share_a_spot(places: dict[str, Place]) -> None:
    near = {
        (a, b)
        for (a, one), (b, other) in combinations(places.items(), 2)
        if distance_km(one.latitude, one.longitude, other.latitude, other.longitude) < 0.05
    }
    assert near == SAME_SPOT


def test_the_nearest_town_is_near_and_in_the_country(places: dict[str, Place]) -> None:
    towns = reverse_geocode.search([(each.latitude, each.longitude) for each in places.values()])
    other, far = {}, {}
    for (label, place), town in zip(places.items(), towns, strict=True):
        if town["country_code"] != place.country:
            other[label] = town["country_code"]
        distance = distance_km(place.latitude, place.longitude, town["latitude"], town["longitude"])
        if distance > (20 if place.kind in BUILT else 150):
            far[label] = (town["city"], round(distance))
    assert other == OTHER_COUNTRY
    assert far == {}


def test_a_users_table_goes_before_the_projects(tmp_path: Path) -> None:
    write_table(tmp_path, "longitude,class_name,latitude\n2.5,eiffel_tower,48.5\n4,Öld Mill,52\n")
    found = find_places(["Eiffel Tower", "Old_Mill", "Stonehenge", "Nowhere"], tmp_path)
    assert list(found) == ["Eiffel Tower", "Old_Mill", "Stonehenge"]
    assert found["Eiffel Tower"] == Place("eiffel tower", "", "", "", 48.5, 2.5, "")
    assert found["Old_Mill"].name == "Öld Mill"
    assert found["Stonehenge"].country == "GB"
    assert find_places(["Eiffel Tower"])["Eiffel Tower"].wikidata == "Q243"
    assert find_places(["Öld Mill", "Tower"]) == {}
    (tmp_path / "photos.csv").touch()
    assert find_places(["Old Mill"], tmp_path / "photos.csv")  # the photos may be a table
    own = write_table(tmp_path, "path,label,split\n")
    assert find_places(["Stonehenge"], own) == find_places(["Stonehenge"])


def test_a_table_as_spreadsheets_write_it(tmp_path: Path) -> None:
    text = (
        'Class_Name , NAME,city,COUNTRY,latitude,longitude,note\r\nOld_Mill,,"Old, Town",nl'
        ",52.0,4.5,dry\r\n\r\n"
    )
    assert read_places(write_table(tmp_path, text, "utf-8-sig")) == {
        "Old Mill": Place("Old Mill", "", "Old, Town", "NL", 52, 4.5, "")
    }


HEAD = "class_name,latitude,longitude,country,wikidata\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column class_name, latitude, longitude; the first line must name"),
        ("class_name;latitude;longitude\n", "no column class_name.*separated by commas"),
        ("class_name,lat,longitude\nA,1,2\n", "line 1: no column latitude"),
        ("class_name,latitude,latitude,longitude\n", "line 1: the column latitude is there twice"),
        (HEAD + "A,1,2,,\nB,north,2,,\n", "line 3: latitude is 'north', not a number; write dec"),
        (HEAD + 'A,"48,85",2,,\n', "line 2: latitude is '48,85', not a number; .* with a point"),
        (HEAD + "A,1,,,\n", "line 2: longitude is blank, not a number"),
        (HEAD + "A\n", "line 2: latitude is blank"),
        (HEAD + "A,91,2,,\n", "line 2: latitude 91 is out of range; .* -90 and 90"),
        (HEAD + "A,1,-180.1,,\n", "line 2: longitude -180.1 is out of range; .* -180 and 180"),
        (HEAD + "A,nan,2,,\n", "line 2: latitude nan is out of range"),
        (HEAD + "A,1,inf,,\n", "line 2: longitude inf is out of range"),
        (HEAD + "A,1,2,France,\n", "line 2: 'FRANCE' is no country; .* such as FR"),
        (HEAD + "A,1,2,ZZ,\n", "line 2: 'ZZ' is no country"),
        (HEAD + "A,1,2,FR,243\n", "line 2: '243' is no Wikidata item; write it as Q243"),
        (HEAD + "A,1,2,,\n\nB,1,2,,\n\na,3,4,,\n", "line 6: 'a' is on line 2 already; delete one"),
        (HEAD + ",1,2,,\n", "line 2: class_name is blank"),
        (HEAD + "A,1,2,FR,Q1,more\n", "line 2: more cells than columns; put quotes"),
        (HEAD + 'A,1,2,FR,"Q1\n', "line 2: not CSV .*quote"),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_a_line(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write_table(tmp_path, text)
    with pytest.raises(PlaceError, match=message) as error:
        find_places(["A"], tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    path = write_table(tmp_path, HEAD, "utf-16")
    with pytest.raises(PlaceError, match="is not UTF-8 text; save it as CSV UTF-8"):
        read_places(path)
    with pytest.raises(PlaceError, match="cannot be read; check its path"):
        read_places(tmp_path / "none.csv")


def test_a_place_travels_in_a_model_file(places: dict[str, Place]) -> None:
    for place in places.values():
        assert Place.from_dict(json.loads(json.dumps(place.to_dict()))) == place


GOOD = Place("Old Mill", "", "", "NL", 52.0, 4.5, "").to_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {"latitude": None},
        {"latitude": True},
        {"latitude": [1]},
        {"latitude": 10**400},
        {"longitude": math.nan},
        {"longitude": -math.inf},
        {"longitude": 181},
        {"name": " "},
        {"name": None},
        {"name": 3},
        {"city": {}},
        {"kind": []},
        {"country": "ZZ"},
        {"country": "<b>"},
        {"wikidata": "Q1&x=1"},
        {"wikidata": "Q" + "1" * 50},
    ],
)
def test_hostile_places_are_refused(changes: dict) -> None:
    with pytest.raises(PlaceError):
        Place.from_dict(GOOD | changes)


def test_hostile_texts_are_cut_to_a_line() -> None:
    place = Place.from_dict(GOOD | {"name": "a\u202eb\x00\nc " + "x" * 10**6, "more": 1})
    assert place.name.startswith("ab c x") and len(place.name) == 100
    assert "\ud800" not in Place.from_dict(GOOD | {"city": "a\ud800"}).city
    for values in (None, [], "text", 3):
        with pytest.raises(PlaceError):
            Place.from_dict(values)


@pytest.mark.parametrize(
    ("points", "kilometres"),
    [  # WGS 84 by Vincenty's formula, of the literature: Flinders Peak to Buninyong; a quarter
        ((-37.9510334, 144.4248679, -37.6528211, 143.9264955), 54.972),
        ((0, 0, 90, 0), 10001.966),
        ((10, 179.5, 10, -179.5), 109.639),
        ((51.5, -0.1, 51.5, -0.1), 0),
        ((0, 0, 0, 180), 20015.1),
    ],
)
def test_distances(points: tuple[float, ...], kilometres: float) -> None:
    assert distance_km(*points) == pytest.approx(kilometres, rel=5e-3)


def test_countries_and_links() -> None:
    assert country_name("FR") == "France" and country_name("KR") == "South Korea"
    assert country_name("") == ""
    assert 248 <= len(country_names()) <= 251  # 249 in ISO 3166-1, and Kosovo
    with pytest.raises(PlaceError, match="'EU' is no country"):
        country_name("EU")
    assert map_url(-22.9519, -43.2105) == (
        "https://www.openstreetmap.org/?mlat=-22.95190&mlon=-43.21050#map=14/-22.95190/-43.21050"
    )
