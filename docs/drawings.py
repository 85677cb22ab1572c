"""The drawings of the guides: python docs/drawings.py writes docs/images/*.svg."""

from pathlib import Path

FOLDER = Path(__file__).parent / "images"
INK, SOFT, BLUE, GREEN, ORANGE = "#24292f", "#d0d7de", "#8ab4f8", "#9fd6a3", "#f3b27a"


def rect(x: float, y: float, w: float, h: float, fill: str = "none", stroke: str = INK) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="{fill}" stroke="{stroke}"/>'
    )


def text(x: float, y: float, words: str, anchor: str = "middle", size: int = 13) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size}">{words}</text>'


def arrow(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<path d="M{x0:g} {y0:g} L{x1:g} {y1:g}" stroke="{INK}" marker-end="url(#tip)"/>'


def box(x: float, y: float, w: float, h: float, words: str, below: str, fill: str) -> str:
    """A box with its name in it, and the shape of what it gives under it."""
    return rect(x, y, w, h, fill) + text(x + w / 2, y + h / 2 + 5, words) + text(
        x + w / 2, y + h + 17, below, size=11
    )  # fmt: skip


def drawing(width: int, height: int, title: str, *parts: str) -> str:
    tip = f'<marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">' \
          f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker>'  # fmt: skip
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'width="{width}" font-family="sans-serif" fill="{INK}"><title>{title}</title>'
        f'<defs>{tip}</defs><rect width="{width}" height="{height}" fill="#ffffff"/>'
    )
    return head + "\n".join(parts) + "</svg>\n"


def pipeline() -> str:
    return drawing(
        760, 210, "From picture and prompt to masks",
        box(10, 30, 100, 44, "picture", "H x W x 3", SOFT), arrow(112, 52, 148, 52),
        box(150, 30, 130, 44, "image encoder", "64 x 64 x 256", BLUE), arrow(282, 52, 398, 80),
        box(10, 130, 100, 44, "prompt", "points, box, mask", SOFT), arrow(112, 152, 148, 152),
        box(150, 130, 130, 44, "prompt encoder", "tokens of 256", BLUE), arrow(282, 152, 398, 110),
        box(400, 72, 130, 44, "mask decoder", "3 x 256 x 256, scores", GREEN),
        arrow(532, 94, 588, 94),
        box(590, 72, 140, 44, "full size", "3 masks of H x W", ORANGE),
        text(215, 20, "once a picture: seconds", size=11),
        text(465, 60, "once a prompt: milliseconds", size=11),
    )  # fmt: skip


def frames() -> str:
    """A picture of 1800 x 1200 pixels, in the scale of 10 pixels a unit."""
    return drawing(
        640, 200, "The three frames of coordinates",
        rect(10, 30, 180, 120, BLUE), text(100, 20, "the picture"),
        text(100, 168, "1800 x 1200 pixels", size=11), arrow(195, 90, 235, 90),
        rect(240, 30, 102.4, 68.3, BLUE), text(291, 20, "input frame"),
        text(291, 168, "1024 x 683: the longer side is the model's", size=11),
        arrow(350, 90, 390, 90),
        rect(400, 30, 102.4, 102.4, SOFT), rect(400, 30, 102.4, 68.3, BLUE),
        text(451, 20, "padded square"), text(470, 184, "1024 x 1024, zeros below", size=11),
        arrow(510, 90, 550, 90), rect(560, 30, 25.6, 25.6, SOFT), rect(560, 30, 25.6, 17.1, GREEN),
        text(585, 20, "logits"), text(590, 75, "256 x 256", size=11),
    )  # fmt: skip


def windows() -> str:
    """A grid of 64 cells in windows of 14; a cell is 4 units."""
    side, window, cell = 64, 14, 4
    padded = -(-side // window) * window
    lines = [
        rect(20 + i * cell, 30 + j * cell, window * cell, window * cell)
        for i in range(0, padded, window) for j in range(0, padded, window)
    ]  # fmt: skip
    return drawing(
        640, 340, "Windows of a grid",
        rect(20, 30, padded * cell, padded * cell, SOFT),
        rect(20, 30, side * cell, side * cell, BLUE),
        *lines, text(20, 20, f"{side} x {side} cells, padded to {padded} x {padded}", "start"),
        text(330, 60, "windowed blocks: a cell attends to the 14 x 14 cells", "start"),
        text(330, 80, "of its window, padding included", "start"),
        text(330, 120, "global blocks (4 of 12 in ViT-B): to all 64 x 64", "start"),
        text(330, 170, "reshape (B, 70, 70, C)", "start"),
        text(330, 190, "to (B x 5, 14, 5, 14, C): five axes", "start"),
        text(330, 210, "swap the middle ones: (B x 5, 5, 14, 14, C)", "start"),
        text(330, 230, "to (B x 25, 196, C)", "start"),
    )  # fmt: skip


def relative() -> str:
    """How a row of 5 cells takes its offsets from a table of 9."""
    cell, size = 40, 5
    table = [
        rect(40 + i * cell, 120, cell, 30, ORANGE if size - 3 <= i < 2 * size - 3 else SOFT)
        + text(40 + (i + 0.5) * cell, 140, f"{i - size + 1:+d}" if i != size - 1 else "0", size=11)
        for i in range(2 * size - 1)
    ]
    row = [rect(120 + i * cell, 40, cell, 30, GREEN if i == 2 else BLUE) for i in range(size)]
    links = [arrow(140 + i * cell, 72, 140 + i * cell, 116) for i in range(size)]
    return drawing(
        640, 190, "Relative positions along one axis", *row, *links, *table,
        text(340, 60, "keys of one row; the query is green", "start"),
        text(40, 170, "a table of 2 x 5 - 1 learned vectors; each gives a score", "start", 12),
    )  # fmt: skip


def folding() -> str:
    return drawing(
        640, 170, "Two orders of one product",
        text(20, 25, "in order: the whole image is projected for each prompt", "start"),
        box(20, 40, 60, 30, "tokens", "7", GREEN), box(90, 40, 60, 30, "W_q", "", SOFT),
        text(165, 60, "x ("), box(190, 40, 150, 30, "image", "4096", BLUE),
        box(350, 40, 60, 30, "W_k", "", SOFT), text(420, 60, ")ᵀ"),
        text(20, 115, "folded: a few tokens are", "start"),
        box(190, 100, 60, 30, "tokens", "7", GREEN), box(260, 100, 60, 30, "W_q", "", SOFT),
        box(330, 100, 60, 30, "W_kᵀ", "", SOFT), text(405, 120, "x"),
        box(420, 100, 150, 30, "imageᵀ", "4096, as it is", BLUE),
    )  # fmt: skip


def bands() -> str:
    """Logits of 256 x 256 and pixels of 600 x 400, with one band of rows and one of columns."""
    top, low, left, right = 128, 256, 256, 384  # of the pixels
    a, b = top / 600 * 170, low / 600 * 170  # of the logits, drawn 170 high
    return drawing(
        700, 260, "Bands of rows and columns",
        rect(20, 40, 170, 170, SOFT), text(105, 28, "logits, 256 x 256"),
        rect(20, 40 + a, 170, b - a, BLUE), text(105, 230, "a slice of rows", size=11),
        arrow(195, 40 + (a + b) / 2, 330, 40 + (top + low) / 6),
        text(262, 62, "one banded matrix", size=11),
        rect(340, 40, 300, 170, SOFT), text(490, 28, "pixels, H x W"),
        rect(340, 40 + top / 3, 300, (low - top) / 3, BLUE),
        rect(340 + left / 2, 40, (right - left) / 2, 170, "none"),
        rect(340 + left / 2, 40 + top / 3, (right - left) / 2, (low - top) / 3, GREEN),
        text(490, 230, "a band of 128 rows; where a band of columns crosses it, a strip", size=11),
    )  # fmt: skip


DRAWINGS = {f.__name__: f for f in (pipeline, frames, windows, relative, folding, bands)}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (FOLDER / f"{name}.svg").write_text(draw())
