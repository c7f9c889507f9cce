"""A training as a W&B run, with its model as an artifact.

The run folder is the record and W&B mirrors it: whatever W&B does, the training continues, and
what did not arrive is kept in RUN/wandb for wandb sync.
"""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.command_line import first_line
from models.environment import home_folder, project_name, resolve_mode
from models.files import code_commit
from models.sources.wandb_artifacts import MODEL_NAME, call_within
from train.config import RunConfig
from train.data.split import Split, hash_photos

if TYPE_CHECKING:
    from train.evaluation.predictions import Results

LISTING = "photos.sha256"
RESUME = "allow"
# A server that does not answer may cost a training 45 s. At the start: 10 s of login and the next
# two; at the end: the last two, and some seconds to write the run again, offline.
START_SECONDS = 15.0
ANSWER_SECONDS = 20.0
FINISH_SECONDS = 12.0


class Tracker:
    """One training in W&B. Before start, and with W&B disabled, every call does nothing."""

    def __init__(self) -> None:
        """Start without a run."""
        self.run: Any | None = None
        self.folders: dict[str, str] = {}

    def start(
        self, config: RunConfig, run_dir: Path, split: Split, left_out: dict[str, str]
    ) -> None:
        """Open or resume the W&B run of a training; offline where the server is unreachable.

        Args:
            config: Settings.
            run_dir: The run folder; W&B's files go to its wandb/.
            split: Its fingerprint and photos are recorded as the run's input.
            left_out: Path -> reason, of photos that could not be read.
        """
        mode = resolve_mode(config.wandb)
        if mode == "disabled":
            return
        self.config, self.run_dir, self.split = config, run_dir, split
        (run_dir / "wandb").mkdir(parents=True, exist_ok=True)
        # Offline, the bytes of artifacts wait here, not in the run's own folder: in W&B's default
        # place a clean-up deletes them, and wandb sync then leaves the model out without a word.
        wanted = {"WANDB_DATA_DIR": "data"}
        if home_folder() is None:  # in a container; W&B's client does not start without one
            wanted["HOME"] = "home"
        self.folders = {
            name: str((run_dir / "wandb" / folder).resolve())
            for name, folder in wanted.items()
            if name not in os.environ
        }
        os.environ.update(self.folders)
        self.described = config.to_dict() | {
            "split": split.fingerprint,
            "commit": code_commit(),
            "dataset": split.summary() | {"left_out_photos": len(left_out)},
        }
        hash_photos(Path(split.root), sorted([*split.train, *split.val]), run_dir / LISTING)
        try:
            self._open(mode)
        except Exception as error:  # of whatever kind: the training must not depend on W&B
            if mode == "offline":
                self._give_up(error)
                return
            print(f"W&B is unreachable ({first_line(error)}); this run is kept offline")
            try:
                self._reopen_offline()
            except Exception as second:
                self._give_up(second)
                return
        if self.run.offline:
            folder = self._folder()
            print(f"W&B is offline; look with: wandb leet {folder}; later: wandb sync {folder}")

    def _give_up(self, error: Exception) -> None:
        print(f"W&B fails ({first_line(error)}); the training continues without it")
        if self.run is not None:
            with contextlib.suppress(Exception):
                self.run.finish(exit_code=1)
        self._end()

    def _end(self) -> None:
        """Forget the run; the next one in this process has folders of its own."""
        self.run = None
        for name in self.folders:
            del os.environ[name]
        self.folders = {}

    def _reopen_offline(self) -> None:
        import wandb  # here and below: it takes a second, which a training without W&B saves

        wandb.teardown()  # its helper process still holds the id of the run that failed
        self._open("offline")

    def _open(self, mode: str) -> None:
        self.run = _open_run(self.config, mode, self.run_dir, self.described)
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")
        if mode == "offline" and (self.run_dir / "metrics.jsonl").is_file():
            # An offline part repeats all epochs before it: syncing only this part is enough.
            for line in (self.run_dir / "metrics.jsonl").read_text().splitlines():
                self.run.log(json.loads(line))
        seconds = None if _uploads_photos(self.config) else ANSWER_SECONDS
        call_within(seconds, _use_dataset, self.run, self.config, self.run_dir, self.split)

    def _folder(self) -> Path:
        return self.run_dir / "wandb" / Path(self.run.dir).parent.name

    def log(self, record: dict[str, Any]) -> None:
        """Log the figures of one epoch."""
        if self.run is not None:
            # A problem with W&B shows in finish; the figures are safe in the run folder.
            with contextlib.suppress(Exception):
                self.run.log(record)

    def finish(self, results: "Results | None" = None, exit_code: int = 0) -> bool:
        """Send the results and close the run.

        What the server did not accept is written again, completely, as an offline run.

        Args:
            results: Of a finished training.
            exit_code: 0 also for a training that was stopped: what it logged is valid, and a
                sweep learns from it.

        Returns:
            Whether all of it is known to have arrived.
        """
        if self.run is None:
            return False
        online = not self.run.offline
        problem: BaseException | None = None
        try:
            problem = self._close(results, exit_code)
            if problem is not None and online:
                self._reopen_offline()
                folder = self._folder()
                self._close(results, exit_code)
                print(
                    f"W&B did not accept everything ({first_line(problem)}); "
                    f"later: wandb sync {folder}"
                )
        except (Exception, KeyboardInterrupt) as error:
            problem = error
            print(f"W&B: {first_line(error)}; the run folder has everything")
        self._end()
        return online and problem is None

    def _close(self, results: "Results | None", exit_code: int) -> BaseException | None:
        """Log the results and finish; the first problem is returned, and never keeps a run open."""
        problem: BaseException | None = None
        try:
            if results is not None:
                call_within(ANSWER_SECONDS, _log_results, self.run, self.run_dir, results)
        except (Exception, KeyboardInterrupt) as error:
            problem = error
        try:
            self.run.finish(exit_code)
        except (Exception, KeyboardInterrupt) as error:
            problem = problem or error
        return problem


def check_settings(config: RunConfig) -> None:
    """Refuse what W&B would refuse, in its variables and in flags, before anything is written.

    Raises:
        ValueError: Names the variable or the flag, and W&B's reason.
    """
    if resolve_mode(config.wandb) == "disabled":
        return
    try:
        import wandb
    except ImportError:  # Tracker.start says so, and the training continues
        return

    def check(what: str, change: Callable[[wandb.Settings], Any]) -> None:
        try:
            change(wandb.Settings())
        except Exception as error:  # its own kinds, and pydantic's of many lines
            found = error.errors()[0]["msg"] if hasattr(error, "errors") else first_line(error)
            reason = found.removeprefix("Value error, ")
            hint = " (a team goes into WANDB_ENTITY)" if "project name" in reason else ""
            raise ValueError(
                f"W&B refuses {what}: {reason}{hint}; correct it, or leave W&B out with "
                "--wandb disabled"
            ) from error

    variables = {name: value for name, value in os.environ.items() if name.startswith("WANDB_")}
    for name, value in variables.items():
        check(name, lambda settings, one={name: value}: settings.update_from_env_vars(one))
    names = {"tags": "run_tags", "group": "run_group", "notes": "run_notes"}
    flags = {"entity": config.entity, "project": config.project} | _labels(config)
    for name, value in flags.items():
        changed = {names.get(name, name): value}
        check(f"--{name}", lambda settings, one=changed: settings.update_from_dict(one))

    def change_all(settings: wandb.Settings) -> None:
        settings.update_from_env_vars(variables)
        settings.update_from_dict({"resume": RESUME})

    check("these of its variables together: " + ", ".join(sorted(variables)), change_all)


def _labels(config: RunConfig) -> dict[str, Any]:
    """Return the run's tags, group and notes; None, not (), where W&B's variables decide."""
    # train.autoencoder has none of these flags.
    return {name: getattr(config, name, None) or None for name in ("tags", "group", "notes")}


def _log_results(run: Any, run_dir: Path, results: "Results") -> None:
    """Log tables, plots, and the one model artifact of this run, a candidate for best."""
    import wandb

    predictions = results.predictions
    rows = predictions.per_class()
    mistakes = wandb.Table(columns=["photo", "picture", "label", "best five"])
    for photo, picture, label, best in predictions.show_mistakes(results.root):
        mistakes.add_data(photo, wandb.Image(picture), label, best)
    confusion = wandb.plot.confusion_matrix(
        y_true=predictions.labels.tolist(),
        preds=predictions.probabilities.argmax(1).tolist(),
        class_names=predictions.class_names,
    )
    run.log(
        {f"val/{plot.stem}": wandb.Image(str(plot)) for plot in sorted(run_dir.glob("*.png"))}
        | {"val/mistakes": mistakes, "val/confusion_matrix": confusion}
        | {"val/classes": wandb.Table(list(rows[0]), [list(row.values()) for row in rows])}
    )
    artifact = wandb.Artifact(MODEL_NAME, type="model", metadata=results.metadata())
    for name in ("model.pt", "manifest.json", "MODEL_CARD.md"):
        artifact.add_file(str(run_dir / name))
    # Never best from here: of several runs at once the last writer would win. See registry.promote.
    logged = run.log_artifact(artifact, aliases=["latest", f"run-{run.id}"])
    if not run.offline:
        logged.wait()  # a refusal shows nowhere else


def _open_run(config: RunConfig, mode: str, run_dir: Path, described: dict[str, Any]) -> Any:
    import wandb

    id_file = run_dir / "wandb" / "id"
    if not id_file.is_file():
        # An agent of a sweep names the run; else a random id, kept so that a resumed training
        # continues the same W&B run.
        id_file.write_text(os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8])
    return wandb.init(
        entity=config.entity,
        project=config.project or project_name(),
        id=id_file.read_text(),
        # W&B lets arguments win over its variables, so what has one is left to it.
        name=None if os.environ.get("WANDB_NAME") else run_dir.name,
        resume=RESUME,
        dir=run_dir,
        mode=mode,
        config=described,
        **_labels(config),
        job_type=None if os.environ.get("WANDB_JOB_TYPE") else config.command,
        settings=wandb.Settings(
            init_timeout=START_SECONDS,
            # Without a limit, a server that dies in mid-run held the script for over 75 s.
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
            silent=mode == "offline",
        ),
    )


def _use_dataset(run: Any, config: RunConfig, run_dir: Path, split: Split) -> None:
    """Record the photos as this run's input: their hashes, and with --upload-photos the photos."""
    import wandb

    root = Path(split.root)
    paths = sorted([*split.train, *split.val])
    name = re.sub(r"[^\w.-]", "-", root.name) or "photos"
    metadata = {"photos": len(paths), "classes": split.class_names, "split": split.fingerprint}
    artifact = wandb.Artifact(name, type="dataset", metadata=metadata)
    artifact.add_file(str(run_dir / LISTING))
    for file in ("splits.json", "duplicates.csv", "statistics.json", "report.html"):
        if (config.data / file).is_file():  # what train.prepare found
            artifact.add_file(str(config.data / file))
    if _uploads_photos(config):
        for path in paths:
            artifact.add_file(str(root / path), name=path, policy="immutable")
    # What run.use_artifact does online, but without its unlimited wait; offline that refuses.
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def _uploads_photos(config: RunConfig) -> bool:
    return getattr(config, "upload_photos", False)  # no flag of train.autoencoder
