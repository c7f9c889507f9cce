import io
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest

from models.command_line import first_line, nearest_flag, parse_flags


@dataclass(frozen=True)
class Base:
    """Boil something."""

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = {
        "water": ("litres", "salt"),
        "heat": ("learning_rate", "tags"),
    }

    litres: int = 1
    """How much water."""
    salt: bool = False
    """Whether to add salt."""
    learning_rate: float = 0.5
    """How fast it heats."""
    tags: tuple[str, ...] = ()
    """Any words."""

    def __post_init__(self) -> None:
        if self.litres < 1:
            raise ValueError("litres must be at least 1")


@dataclass(frozen=True)
class Derived(Base):
    """Boil more."""

    litres: int = 3
    """How much more water."""


def parse(*args: str, settings: type = Derived) -> object:
    return parse_flags(settings, "boil", ("boil --litres 2",), args=args)


def test_flags_become_settings() -> None:
    assert parse() == Derived()
    args = ("--litres", "2", "--salt", "--learning_rate=0.25", "--tags", "a", "b")
    assert parse(*args) == Derived(2, True, 0.25, ("a", "b"))
    assert parse("--no-salt") == Derived()


def test_help_shows_groups_texts_and_examples(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        parse("--help")
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert text.index("water options") < text.index("--litres") < text.index("heat options")
    assert "Boil more." in text and "How much more water. (default: 3)" in text
    assert text.rstrip().endswith("examples:\n  boil --litres 2")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--lr", "3"], "there is no flag --lr; did you mean --learning-rate?"),
        (["--liters=3"], "there is no flag --liters; did you mean --litres?"),
        (["--zzz"], "there is no flag --zzz. See: boil --help"),
        (["--litres", "0"], "error: litres must be at least 1"),
        (["--litres", "many"], "invalid literal for int"),
    ],
)
def test_mistakes_end_with_status_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(*args)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_group_that_forgets_a_field_is_a_mistake() -> None:
    @dataclass(frozen=True)
    class Forgetful(Base):
        more: int = 0

    with pytest.raises(TypeError, match="more"):
        parse(settings=Forgetful)


def test_nearest_flag() -> None:
    flags = ["--learning-rate", "--batch-size", "--epochs", "--weight-decay"]
    assert nearest_flag("--batch", flags) == "--batch-size"
    assert nearest_flag("--epoch", flags) == "--epochs"
    assert nearest_flag("--wd", flags) == "--weight-decay"
    assert nearest_flag("--qqqq", flags) is None


def test_first_line() -> None:
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 999))) == 200


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_name_can_be_printed(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    parse()
    print("a東京\udcff.jpg")
    print("a東京\udcff.jpg", file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        said = stream.buffer.getvalue().decode(encoding)
        assert said.rstrip() in ("a東京\\udcff.jpg", r"a\u6771\u4eac\udcff.jpg")
