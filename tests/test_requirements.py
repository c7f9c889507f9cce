"""Serving works with requirements-serve.txt; what needs more says in one line what installs it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.environment import MissingPackage, install_command, require
from tests.support.serving_set import ROOT, pins, serving_environment
from tests.test_commands import MISTAKES

# What of models/ serving does without: networks are built to be trained, TorchScript runs only
# files without an ONNX twin, and the widget is part of a notebook.
BEYOND = (
    "models.networks",
    "models.model_file.classifier",
    "models.model_file.onnx_export",
    "models.model_file.resize",
    "models.model_file.torchscript",
    "models.page.notebook_widget",
)
SERVING_COMMANDS = {"train.download", "train.promote", "train.prune", "models.tag", "demo"}
IMPORT_ALL = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(sorted({"torch", "ray", "pyarrow", "matplotlib", "timm"} & set(sys.modules)))
"""
RUN_ALL = """
import json, runpy, sys
answers = []
for module, *args in json.loads(sys.argv[1]):
    print("--", module, file=sys.stderr, flush=True)
    sys.argv = [module, *args]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        answers.append(0)
    except SystemExit as end:
        answers.append(end.code or 0)
print("\\n" + json.dumps(answers))
"""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a Python with the serving set only."""
    return serving_environment(tmp_path_factory.mktemp("serving"))


def answers_of(calls: list[list[str]], environment: dict[str, str]) -> list[tuple[int, str]]:
    """Run commands in one fresh process: exit status and standard error of each."""
    run = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(calls)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    errors = re.split(r"^-- .*\n", run.stderr, flags=re.MULTILINE)[1:]
    return list(zip(json.loads(run.stdout.splitlines()[-1]), errors, strict=True))


def test_every_pin_is_exact_and_has_a_reason() -> None:
    serve, rest = pins("requirements-serve.txt"), pins("requirements.txt")
    for line in [*serve.values(), *rest.values()]:
        assert re.fullmatch(r"[\w\[\]-]+==[\w.]+ +# .+", line), line
    assert not set(serve) & set(rest)
    assert not set(serve) & {"torch", "torchvision", "timm", "ray[data]", "pyarrow", "pytest"}
    first = (ROOT / "requirements.txt").read_text().splitlines()[0]
    assert first.split()[:2] == ["-r", "requirements-serve.txt"]


def test_the_serving_path_imports_with_the_serving_set(serving: dict[str, str]) -> None:
    files = [ROOT / "demo.py", *sorted(ROOT.glob("models/**/*.py"))]
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files]
    names = [name.removesuffix(".__init__") for name in names if not name.startswith(BEYOND)]
    assert len(names) > 40
    command = [sys.executable, "-c", IMPORT_ALL, json.dumps(names)]
    run = subprocess.run(command, cwd=ROOT, env=serving, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "[]\n"), run.stderr


def test_every_help_needs_only_the_serving_set(serving: dict[str, str]) -> None:
    for call, (status, errors) in zip(
        MISTAKES, answers_of([[name, "--help"] for name in MISTAKES], serving), strict=True
    ):
        assert (status, errors) == (0, ""), call


def test_what_needs_more_says_in_one_line_what_installs_it(serving: dict[str, str]) -> None:
    training = sorted(set(MISTAKES) - SERVING_COMMANDS)
    assert len(training) > 8
    calls = [[name, *MISTAKES[name]] for name in training if name != "train.notebooks"]
    calls += [
        ["train.notebooks"],
        ["models.tag", "models", "--out", "tags.parquet"],
        ["models.tag", "models", "--out", "tags.csv", "--ray", "local"],
    ]
    for call, (status, errors) in zip(calls, answers_of(calls, serving), strict=True):
        (line,) = errors.splitlines()
        assert status == 2 and line.startswith("error: "), (call, line)
        assert " needs " in line and line.endswith("-m pip install -r requirements.txt"), line


def test_a_notebook_says_what_installs_the_rest(serving: dict[str, str]) -> None:
    command = [sys.executable, "-c", "import train.notebook_support.lesson"]
    run = subprocess.run(command, cwd=ROOT, env=serving, capture_output=True, text=True)
    assert run.stderr.splitlines()[-1].endswith("-m pip install -r requirements.txt")


def test_commands_that_need_no_more_do_their_work(serving: dict[str, str]) -> None:
    calls = [[name, *MISTAKES[name]] for name in sorted(SERVING_COMMANDS)]
    for call, (status, errors) in zip(calls, answers_of(calls, serving), strict=True):
        assert status in (1, 2) and "requirements" not in errors, (call, errors)


def test_make_installs_what_a_target_needs(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements-serve.txt", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def installs(target: str) -> list[str]:
        plan = subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True)
        assert plan.returncode == 0, plan.stderr
        return re.findall(r"pip install .*-r (\S+)", plan.stdout)

    both = ["requirements-serve.txt", "requirements.txt"]
    assert installs("demo") == both[:1]
    assert [installs(target) for target in ("test", "quick", "lint")] == [both] * 3
    marks = tmp_path / ".venv" / "ready", tmp_path / ".venv" / "serve"
    marks[0].parent.mkdir()
    marks[0].touch()  # made before there were two files
    assert (installs("demo"), installs("test")) == (both[:1], both)
    now = time.time()
    os.utime(tmp_path / "requirements-serve.txt", (now + 1, now + 1))
    for mark, seconds in zip(marks, (3, 2), strict=True):
        mark.touch()
        os.utime(mark, (now + seconds, now + seconds))
    assert installs("demo") == installs("test") == []
    os.utime(tmp_path / "requirements-serve.txt", (now + 4, now + 4))
    assert (installs("demo"), installs("test")) == (both[:1], both)


def test_require(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    require("this", ["json", "re"])
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "executable", str(ROOT / ".venv" / "bin" / "python"))
    monkeypatch.chdir(ROOT)
    with pytest.raises(MissingPackage) as caught:
        require("python -m train.transfer", ["json", "torch"])
    install = ".venv/bin/python -m pip install -r requirements.txt"
    assert str(caught.value) == f"python -m train.transfer needs torch; install: {install}"
    monkeypatch.chdir(tmp_path)  # elsewhere, as a program that uses the Predictor may run
    assert install_command() == f"{ROOT}/.venv/bin/python -m pip install -r {ROOT}/requirements.txt"
