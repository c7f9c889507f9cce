"""Weights & Biases: runs, model artifacts, the alias best. The only file of train/ with wandb.

The run folder is the record and W&B mirrors it: whatever W&B does, the training goes on, and what
did not arrive is kept in RUN/wandb for wandb sync.
"""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.command_line import first_line
from models.environment import has_wandb_key, project_name, resolve_mode
from models.files import code_commit
from models.sources.served_model import MODEL_NAME, call_within
from train.config import RunConfig
from train.data.split import Split, hash_photos
from train.evaluation.predictions import Results
from train.tracking.ranking import Candidate, comparable, format_table, rank

LISTING = "photos.sha256"
# A server that does not answer may cost a training 45 s. At the start: 10 s of login and the next
# two; at the end: the last two, and some seconds to write the run again, offline.
START_SECONDS = 15.0
ANSWER_SECONDS = 20.0
FINISH_SECONDS = 12.0
API_SECONDS = 20
MAX_MOVES = 20


class Tracker:
    """One training in W&B. Until start, or with W&B disabled, every call does nothing."""

    def __init__(self) -> None:
        """No run yet."""
        self.run: Any | None = None
        self.data_dir: str | None = None

    def start(
        self, config: RunConfig, run_dir: Path, split: Split, left_out: dict[str, str]
    ) -> None:
        """Open the W&B run of a training, or go on with it; offline if the server is away.

        Args:
            config: Settings.
            run_dir: The run folder; W&B's files go to its wandb/.
            split: Its fingerprint and photos are recorded as the run's input.
            left_out: Photos that could not be read.
        """
        mode = resolve_mode(config.wandb)
        if mode == "disabled":
            return
        self.config, self.run_dir, self.split = config, run_dir, split
        (run_dir / "wandb").mkdir(parents=True, exist_ok=True)
        # Offline, the bytes of artifacts wait here; in W&B's default place a clean-up loses them.
        if "WANDB_DATA_DIR" not in os.environ:
            self.data_dir = os.environ["WANDB_DATA_DIR"] = str((run_dir / "wandb/data").resolve())
        self.described = config.to_dict() | {
            "split": split.fingerprint,
            "commit": code_commit(),
            "dataset": split.summary() | {"left_out_photos": len(left_out)},
        }
        hash_photos(Path(split.root), sorted([*split.train, *split.val]), run_dir / LISTING)
        try:
            self._open(mode)
        except Exception as error:  # whatever it is, the training does not depend on it
            if mode == "offline":
                raise
            print(f"W&B is out of reach ({first_line(error)}); this run is kept offline")
            self._reopen_offline()
        if self.run.offline:
            folder = self._folder()
            print(f"W&B is offline; look with: wandb leet {folder}; later: wandb sync {folder}")

    def _reopen_offline(self) -> None:
        import wandb  # here and below: it takes a second, which a training without it saves

        wandb.teardown()  # its helper process still holds the id of the run that failed
        self._open("offline")

    def _open(self, mode: str) -> None:
        self.run = _open_run(self.config, mode, self.run_dir, self.described)
        self.run.define_metric("epoch")
        self.run.define_metric("*", step_metric="epoch")
        if mode == "offline" and (self.run_dir / "metrics.jsonl").is_file():
            # An offline part repeats what came before, so that syncing it alone loses nothing.
            for line in (self.run_dir / "metrics.jsonl").read_text().splitlines():
                self.run.log(json.loads(line))
        seconds = None if _uploads_photos(self.config) else ANSWER_SECONDS
        call_within(seconds, _use_dataset, self.run, self.config, self.run_dir, self.split)

    def _folder(self) -> Path:
        return self.run_dir / "wandb" / Path(self.run.dir).parent.name

    def log(self, record: dict[str, Any]) -> None:
        """The figures of one epoch."""
        if self.run is not None:
            # Whatever is wrong with W&B shows in finish; the run folder has the figures.
            with contextlib.suppress(Exception):
                self.run.log(record)

    def finish(self, results: Results | None = None, exit_code: int = 0) -> bool:
        """Send the results and close the run; whether all of it is known to have arrived.

        What a server did not take is written again, whole, as an offline run.
        """
        if self.run is None:
            return False
        online = not self.run.offline
        try:
            problem = self._close(results, exit_code)
            if problem is not None and online:
                self._reopen_offline()
                folder = self._folder()
                self._close(results, exit_code)
                print(
                    f"W&B did not take it all ({first_line(problem)}); later: wandb sync {folder}"
                )
        except (Exception, KeyboardInterrupt) as error:
            print(f"W&B: {first_line(error)}; the run folder has everything")
        self.run = None
        if self.data_dir is not None:  # the next run in this process has a folder of its own
            del os.environ["WANDB_DATA_DIR"]
        return online and problem is None

    def _close(self, results: Results | None, exit_code: int) -> BaseException | None:
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


def _log_results(run: Any, run_dir: Path, results: Results) -> None:
    """Tables, plots, and the one model artifact of this run, a candidate for best."""
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
    logged = run.log_artifact(artifact, aliases=["latest", f"run-{run.id}"])
    if not run.offline:
        logged.wait()  # a refusal shows nowhere else


def _open_run(config: RunConfig, mode: str, run_dir: Path, described: dict[str, Any]) -> Any:
    import wandb

    id_file = run_dir / "wandb" / "id"
    if not id_file.is_file():
        id_file.write_text(os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8])
    # train.autoencoder has none of these flags.
    labels = {name: getattr(config, name, None) for name in ("tags", "group", "notes")}
    return wandb.init(
        entity=config.entity, project=config.project or project_name(), id=id_file.read_text(),
        name=run_dir.name, resume="allow", dir=run_dir, mode=mode, config=described,
        **labels, job_type=config.command,
        settings=wandb.Settings(
            init_timeout=START_SECONDS, finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True, silent=mode == "offline",
        ),
    )  # fmt: skip


def _use_dataset(run: Any, config: RunConfig, run_dir: Path, split: Split) -> None:
    """Record the photos as this run's input: their hashes, and with a flag the photos."""
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
    # What run.use_artifact does online, less its wait without a limit; and that refuses offline.
    run._log_artifact(artifact, is_user_created=True, use_after_commit=True)


def _uploads_photos(config: RunConfig) -> bool:
    return getattr(config, "upload_photos", False)  # no flag of train.autoencoder


class Registry:
    """The model artifact of one W&B project."""

    def __init__(self, entity: str | None = None, project: str | None = None) -> None:
        """Connect.

        Args:
            entity: User or team; none: WANDB_ENTITY, else the key's own.
            project: None: WANDB_PROJECT, else landmarks.

        Raises:
            ConnectionError: No key, or no answer.
        """
        if not has_wandb_key():
            raise ConnectionError("W&B has no key: run wandb login, or set WANDB_API_KEY")
        import wandb

        with _told("W&B does not answer"):
            self.api = wandb.Api(timeout=API_SECONDS)
            entity = entity or os.environ.get("WANDB_ENTITY") or self.api.default_entity
        self.path = f"{entity}/{project or project_name()}/{MODEL_NAME}"

    def candidates(self) -> list[Candidate]:
        """All versions that a training logged."""
        with _told(f"no models at {self.path}"):
            found = list(self.api.artifacts("model", self.path))
        return [Candidate.of(each) for each in found if each.state == "COMMITTED"]

    @contextlib.contextmanager
    def _change(self, version: str) -> Iterator[Any]:
        """One version, read anew, to be changed."""
        with _told(f"{self.path}:{version} could not be changed"):
            yield self.api.artifact(f"{self.path}:{version}", type="model")

    def promote(self, metric: str = "val/top1", split: str | None = None) -> str:
        """Move the alias best to the best candidate; the table that it was decided from.

        Safe beside others that do the same: each mover reads again after its move, so the last
        move of all was checked against all candidates that its mover could see.

        Raises:
            ConnectionError: W&B does not answer.
            ValueError: A metric or split that cannot be compared.
        """
        for _ in range(MAX_MOVES):
            ranked = rank(comparable(self.candidates(), split), metric)
            if not ranked:
                raise ValueError(f"{self.path} holds no model yet; train one with W&B online")
            if ranked[0].is_best():
                return format_table(ranked, metric)
            with self._change(ranked[0].version) as artifact:
                artifact.aliases.append("best")
                artifact.save()
        raise ConnectionError(f"the alias best of {self.path} keeps moving; try again later")

    def link(self, collection: str) -> None:
        """Show today's best in a registry collection, such as wandb-registry-model/landmarks."""
        with self._change("best") as artifact:
            artifact.link(collection)

    def delete(self, candidate: Candidate) -> bool:
        """Delete one version, unless somebody gave it a name meanwhile."""
        with self._change(candidate.version) as artifact:
            if set(artifact.aliases) - set(candidate.aliases):
                return False
            artifact.delete(delete_aliases=True)
        return True


def record_test(name: str, figures: dict[str, float]) -> None:
    """Add test figures (test/...) to the metadata of the artifact entity/project/name:alias.

    Raises:
        ConnectionError: W&B does not answer or refuses.
    """
    import wandb

    with _told(f"{name} got no test figures"):
        artifact = wandb.Api(timeout=API_SECONDS).artifact(name)
        artifact.metadata.update(figures)
        artifact.save()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """The many errors of W&B's client as one, in one line."""
    try:
        yield
    except Exception as error:
        raise ConnectionError(f"{what}: {first_line(error)}") from error
