"""Settings of the three training commands: one base, their flags, and records of earlier runs."""

import dataclasses
import json
from pathlib import Path

import pytest

from models.command_line import _field_texts, parse_flags
from train.config import (
    AutoencoderConfig,
    RunConfig,
    ScratchConfig,
    TransferConfig,
    config_from_dict,
)

KINDS = (TransferConfig, ScratchConfig, AutoencoderConfig)
# As version 0.1.0 wrote it, in its order; what is not named here is as in the other commands.
EARLIER_AUTOENCODER = {
    "command": "train.autoencoder",
    "data": "photos",
    "extra": ["more", "old/scans"],
    "epochs": 60,
    "image_size": 128,
    "patch": 16,
    "mask_ratio": 0.6,
    "noise": 0.1,
    "batch_size": 64,
    "learning_rate": 0.01,
    "flip": True,
    "width": 32,
    "depth": 2,
    "stem": "conv",
    "norm": "batch",
    "activation": "relu",
    "val_fraction": 0.1,
    "split_seed": 0,
    "seed": 0,
    "limit": None,
    "precision": "auto",
    "device": "auto",
    "workers": 1,
    "cache_dir": "cache",
    "run_dir": "runs/earlier",
    "resume": None,
    "wandb": None,
    "entity": None,
    "project": None,
}


@pytest.mark.parametrize("kind", KINDS)
def test_settings_survive_json(kind: type[RunConfig]) -> None:
    config = kind(data=Path("photos"), limit=7, run_dir=Path("runs/one"), flip=False)
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config_from_dict(ScratchConfig(tags=("a", "b")).to_dict()).tags == ("a", "b")


def test_the_settings_of_an_earlier_autoencoder_load() -> None:
    config = config_from_dict(EARLIER_AUTOENCODER)
    changed = {"data": Path("photos"), "extra": ("more", "old/scans"), "width": 32}
    changed |= {"cache_dir": Path("cache"), "run_dir": Path("runs/earlier")}
    assert config == AutoencoderConfig(**changed)
    assert {key: list(v) if isinstance(v, tuple) else v for key, v in config.to_dict().items()} == (
        EARLIER_AUTOENCODER
    )
    assert config.network_name == "autoencoder"


def test_runs_of_earlier_versions_learned_nothing_from_outside_photos() -> None:
    values = {"command": "train.transfer", "outside": "others", "image_size": 192}
    config = config_from_dict(values)
    assert (config.outside, config.outside_weight) == ((Path("others"),), 0.0)
    assert {config.crop_px(epoch) for epoch in range(config.epochs)} == {192}  # as they were
    assert config_from_dict({"command": "train.transfer", "outside": None}).outside == ()
    several = TransferConfig(outside=(Path("a"), Path("b")))
    assert config_from_dict(several.to_dict()) == several


def test_outside_may_be_given_several_times() -> None:
    args = ["--outside", "a", "--outside", "b/c"]
    config = parse_flags(TransferConfig, "python -m train.transfer", args=args)
    assert config.outside == (Path("a"), Path("b/c"))


@pytest.mark.parametrize(
    "values", [{"command": "train.scratch", "wings": 2}, {"backbone": "resnet18"}]
)
def test_settings_of_another_version_are_refused(values: dict) -> None:
    with pytest.raises(ValueError, match="another version"):
        config_from_dict(values)


@pytest.mark.parametrize("kind", KINDS)
def test_the_help_explains_every_flag_in_its_group(
    kind: type[RunConfig], capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        parse_flags(kind, "command", args=["--help"])
    lines = capsys.readouterr().out.splitlines()
    for title in kind.GROUPS:
        assert any(f" {title} options " in line for line in lines)
    shown = {word.strip(",") for line in lines for word in line.split() if word.startswith("--")}
    flags = {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)}
    assert flags <= shown
    assert all(_field_texts(kind).get(field.name) for field in dataclasses.fields(kind))
    assert parse_flags(kind, "command", args=[]) == kind()


def test_flags_of_a_sweep() -> None:
    """W&B writes underscores and an equals sign."""
    args = ["--label_smoothing=0.1", "--start_fraction=0.5", "--epochs=20", "--optimizer=adamw"]
    config = ScratchConfig(label_smoothing=0.1, start_fraction=0.5, epochs=20, optimizer="adamw")
    assert parse_flags(ScratchConfig, "command", args=args) == config


@pytest.mark.parametrize("flag", ["--mixup", "--tags", "--optimizer", "--promote", "--outside"])
def test_pretraining_has_no_flags_that_need_labels(
    flag: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_flags(AutoencoderConfig, "command", args=[flag, "1"])
    assert end.value.code == 2
    assert f"there is no flag {flag}" in capsys.readouterr().err
    with pytest.raises(TypeError):
        AutoencoderConfig(**{flag.strip("-"): 1})


@pytest.mark.parametrize("kind", KINDS)
def test_impossible_settings_are_refused(kind: type[RunConfig]) -> None:
    wrong = {"epochs": 0, "batch_size": 1, "limit": 1, "val_fraction": 0.6, "learning_rate": 0}
    if kind is not AutoencoderConfig:
        wrong |= {"augment": 3.0, "label_smoothing": 1.0}
    if kind is not TransferConfig:
        wrong |= {"width": 9, "depth": 0}
    for field, value in wrong.items():
        with pytest.raises(ValueError, match=field.replace("_", "-")):
            kind(**{field: value})
