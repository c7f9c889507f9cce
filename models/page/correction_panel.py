"""Ask under each answer whether it is right, and keep the photo with what a person says."""

import html
from pathlib import Path
from typing import Any

from models.page.corrections import CorrectionError, Corrections, Guess
from models.page.gradio_import import gr
from models.page.photo_tab import SHARED, Asked, PhotoTab, ask
from models.photos import PHOTO_EXTENSIONS, PhotoError
from models.photos.folder_walk import OUTSIDE_FOLDER
from models.predictor import Predictor
from models.sources.served_model import ModelSource

ASKED = "Is this right? If you answer, this photo is kept on this server, to learn from."
SWAPPED = "Another model answers by now; give the photo again."
GONE = "The photo was deleted meanwhile; give it again."


def add_corrections(tab: PhotoTab, source: ModelSource, corrections: Corrections) -> None:
    """Add the question to the column of the answer.

    Args:
        tab: The tab for one photo.
        source: Where the model comes from.
        corrections: Keeps the photos.
    """

    def show(said: str, noted: dict | None, step: str) -> list[Any]:
        """Return what the panel shows: a sentence, and the parts of a step."""
        steps = ("ask", "choose", "kept")
        return [said, noted, *(gr.update(visible=step == each) for each in steps)]

    def offer(photo: str | None) -> list[Any]:
        """Ask about a new answer."""
        return show(ASKED, {"model": source.served.predictor.digest}, "ask")

    def look(photo: str | None, noted: dict | None) -> tuple[Predictor, Asked]:
        """Answer the photo again; the page keeps no answers.

        Raises:
            CorrectionError: The answer on the page is another model's, or the photo is gone.
        """
        predictor = source.served.predictor
        if not photo or not noted or noted.get("model") != predictor.digest:
            raise CorrectionError(SWAPPED)
        try:
            return predictor, ask(predictor, photo)
        except PhotoError as error:
            raise CorrectionError(GONE) from error

    def keep(photo: str, predictor: Predictor, asked: Asked, label: str | None) -> list[Any]:
        answer = asked.answer
        guess = Guess(
            answer.label, answer.verdict, answer.probabilities[answer.label], predictor.digest
        )
        extension = Path(photo).suffix.lower()
        extension = extension if extension in PHOTO_EXTENSIONS else ".jpg"
        kept = corrections.keep(Path(photo).read_bytes(), extension, label, guess)
        name = "none of them" if label is None else f"<b>{html.escape(label)}</b>"
        noted = {"model": predictor.digest, "kept": kept}
        return show(f"Thank you. Kept as {name}.", noted, "kept")

    def keep_right(photo: str | None, noted: dict | None) -> list[Any]:
        """Keep the photo as what the answer says."""
        try:
            predictor, asked = look(photo, noted)
            label = asked.answer.label if asked.answer.known else None
            return keep(photo, predictor, asked, label)
        except CorrectionError as error:
            return show(html.escape(str(error)), noted, "ask")

    def choose(photo: str | None, noted: dict | None) -> list[Any]:
        """List what it may be instead: the other guesses, then all landmarks."""
        try:
            predictor, asked = look(photo, noted)
        except CorrectionError as error:
            return [*show(html.escape(str(error)), noted, "ask"), gr.skip()]
        names = {label: _name(predictor, label) for label in predictor.class_names}
        guesses = list(asked.answer.probabilities)
        if asked.answer.known:
            names.pop(guesses.pop(0))  # the one that is not right
        others = sorted(set(names) - set(guesses), key=lambda label: names[label].casefold())
        choices = [*((names[label], label) for label in guesses)]
        choices += [("None of them", OUTSIDE_FOLDER)]
        choices += [(names[label], label) for label in others]
        return [*show("What is it?", noted, "choose"), gr.update(choices=choices, value=None)]

    def keep_chosen(photo: str | None, noted: dict | None, chosen: str | None) -> list[Any]:
        """Keep the photo as what a person chose or typed."""
        try:
            predictor, asked = look(photo, noted)
            if not chosen or not chosen.strip():
                return show("Choose what it is, or type a name.", noted, "choose")
            label = None if chosen == OUTSIDE_FOLDER else _find_label(predictor, chosen)
            return keep(photo, predictor, asked, label)
        except CorrectionError as error:
            return show(html.escape(str(error)), noted, "choose")

    def take_back(photo: str | None, noted: dict | None) -> list[Any]:
        """Delete what was kept."""
        corrections.take_back(str((noted or {}).get("kept")))
        return show(f"Deleted. {ASKED}", noted, "ask")

    with tab.says, gr.Column(elem_id="correct"):
        said = gr.HTML(ASKED, elem_id="correct-said")
        noted = gr.JSON(visible=False)
        with gr.Row() as asking:
            right, wrong = gr.Button("Right"), gr.Button("Not right")
        with gr.Row(visible=False) as choosing:
            chosen = gr.Dropdown(
                label="It is …",
                info="Choose, or type a new name.",
                allow_custom_value=True,
                elem_id="correct-choice",
                scale=3,
            )
            confirm = gr.Button("Keep", variant="primary")
        with gr.Row(visible=False) as kept:
            back = gr.Button("Take it back")
    parts = [said, noted, asking, choosing, kept]
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    tab.answered.then(offer, tab.photo, parts, queue=False, **quiet)
    right.click(keep_right, [tab.photo, noted], parts, **quiet, **SHARED)
    wrong.click(choose, [tab.photo, noted], [*parts, chosen], **quiet, **SHARED)
    confirm.click(keep_chosen, [tab.photo, noted, chosen], parts, **quiet, **SHARED)
    back.click(take_back, [tab.photo, noted], parts, **quiet)


def _name(predictor: Predictor, label: str) -> str:
    """Return what people call a landmark."""
    place = predictor.place(label)
    return label if place is None else place.name


def _find_label(predictor: Predictor, text: str) -> str:
    """Return the label that a person chose or typed in any case; else the text, a new name."""
    wanted = text.strip().casefold()
    found = (
        label
        for label in predictor.class_names
        if wanted in (label.casefold(), _name(predictor, label).casefold())
    )
    return next(found, text.strip())
