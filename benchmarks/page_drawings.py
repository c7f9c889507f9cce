"""Draw what the page shows of itself: six photos to try, its icon, and the card of its link.

python benchmarks/page_drawings.py; writes into models/page/static/.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from train.notebook_support.drawn_photos import draw_photo

STATIC = Path(__file__).parents[1] / "models" / "page" / "static"
# File -> drawing, variant. Chosen for what landmarks.pt says of them: one is sure, three are
# maybe, two are none.
EXAMPLES = {
    "bridge": ("Red Bridge", 132),
    "pyramid": ("Desert Pyramid", 8),
    "tower": ("Iron Tower", 164),
    "arch": ("Victory Arch", 102),
    "dome": ("White Dome", 2),
    "stones": ("Stone Circle", 3),
}
TERRACOTTA, PAPER = (164, 60, 38), (250, 247, 242)


def draw_icon(side_px: int) -> Image.Image:
    """Draw a pin whose head is an arch, on terracotta."""
    image = Image.new("RGB", (4 * side_px, 4 * side_px), TERRACOTTA)
    draw, unit = ImageDraw.Draw(image), 4 * side_px / 100

    def scaled(*numbers: float) -> list[float]:
        return [unit * number for number in numbers]

    draw.ellipse(scaled(24, 12, 76, 64), fill=PAPER)
    draw.polygon(scaled(27.5, 52, 72.5, 52, 50, 88), fill=PAPER)
    draw.pieslice(scaled(38, 25, 62, 49), 180, 360, fill=TERRACOTTA)
    draw.rectangle(scaled(38, 36.5, 62, 55), fill=TERRACOTTA)
    return image.resize((side_px, side_px), Image.Resampling.LANCZOS)


def draw_card() -> Image.Image:
    """Draw 1200 x 630 pixels, as chats and feeds show a link: three drawings, icon and title."""
    card = Image.new("RGB", (1200, 630), PAPER)
    for number, name in enumerate(("bridge", "pyramid", "tower")):
        photo = Image.open(STATIC / "drawn" / f"{name}.jpg").resize((400, 300))
        card.paste(photo, (400 * number, 0))
    card.paste(draw_icon(160), (60, 380))
    draw = ImageDraw.Draw(card)
    draw.text((260, 385), "Which landmark is this?", TERRACOTTA, ImageFont.load_default(76))
    draw.text(
        (264, 490), "A photo in; its name and place out.", (60, 52, 46), ImageFont.load_default(42)
    )
    return card


def main() -> None:
    """Draw all of it."""
    (STATIC / "drawn").mkdir(parents=True, exist_ok=True)
    for name, (landmark, variant) in EXAMPLES.items():
        photo = draw_photo(landmark, variant, (640, 480))
        photo.save(STATIC / "drawn" / f"{name}.jpg", quality=85)
    draw_icon(512).save(STATIC / "icon.png", optimize=True)
    draw_card().save(STATIC / "card.jpg", quality=88)


if __name__ == "__main__":
    main()
