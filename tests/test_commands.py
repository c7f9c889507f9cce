"""Every command answers its help and a mistake before it imports anything heavy."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MISSING = "no/such/path"
# A command and arguments that name something that is not there.
MISTAKES = {
    "train.transfer": ["--data", MISSING],
    "train.scratch": ["--data", MISSING],
    "train.autoencoder": ["--data", MISSING],
    "train.find_lr": ["scratch", "--data", MISSING],
    "train.download": ["--archive", MISSING],
    "train.prepare": ["--data", MISSING],
    "train.evaluate": ["--data", MISSING, "--out", "out"],
    "train.compare": [MISSING, MISSING],
    "train.export": [MISSING],
    "train.submission": ["--data", MISSING],
    "train.sweep": [MISSING],
    "train.promote": ["--wrong-flag"],
    "train.prune": ["--wrong-flag"],
    "train.notebooks": ["--wrong-flag"],
    "models.tag": [MISSING, "--out", "tags.csv"],
    "demo": ["--model", MISSING],
}
HEAVY = {"torch", "onnxruntime", "gradio", "timm", "albumentations", "matplotlib", "ray"}
# Runs all of them in one process: what one imports, the others would find.
SCRIPT = """
import json, runpy, sys
answers = []
for module, args in json.loads(sys.argv[1]):
    sys.argv = [module, *args]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code or 0
    answers.append([module, args, status, sorted(set(HEAVY) & set(sys.modules))])
print("\\n" + json.dumps(answers))
"""


def answers_of(calls: list[tuple[str, list[str]]]) -> list[tuple]:
    """Run commands in one fresh process: module, arguments, exit status, heavy modules so far."""
    script = f"HEAVY = {sorted(HEAVY)}\n{SCRIPT}"
    run = subprocess.run(
        [sys.executable, "-c", script, json.dumps(calls)], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return [tuple(answer) for answer in json.loads(run.stdout.splitlines()[-1])]


def test_every_command_is_here() -> None:
    commands = {f"train.{path.stem}" for path in ROOT.glob("train/*.py")}
    assert set(MISTAKES) == commands - {"train.__init__", "train.config"} | {"models.tag", "demo"}


def test_help_and_mistakes_answer_before_heavy_imports() -> None:
    helps = [(name, ["--help"]) for name in MISTAKES]
    flags = [(name, ["--zzzz-no-such-flag"]) for name in MISTAKES]
    for module, args, status, heavy in answers_of(helps + flags + [*MISTAKES.items()]):
        expected = {0} if args == ["--help"] else {2}
        assert status in expected and not heavy, (module, args, status, heavy)
