"""`python -m editors.vscode.pictures`: makes the pictures of the READMEs of screenshots of the real VS Code.

`pytest tests/editors/test_vscode.py` leaves them in build/screenshots; the engine plays a script there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
SCREENSHOTS = HERE.parents[1] / "build" / "screenshots"

LINES = (302, 36, 1000, 150)
"""Of a window: the first lines of the editor, beside the explorer."""
EDITOR = (48, 0, 1000, 410)
"""The editor without the explorer, and what opens above it."""
COLOURS = 192

Frame = tuple[str, int]
"""A screenshot's name, and for how many milliseconds it is seen."""

GHOST_TEXT: Sequence[Frame] = [
    ("vscode-ghost-text-0", 1200),
    ("vscode-ghost-text-1", 1400),
    ("vscode-ghost-text-2", 350),
    ("vscode-ghost-text-3", 350),
    ("vscode-ghost-text-4", 1200),
    ("vscode-ghost-text-5", 1800),
]
SETTLING: Sequence[Frame] = [
    *((f"vscode-settling-{number}", 400) for number in range(8)),
    ("vscode-settling-8", 1200),
    ("vscode-review", 3000),
]


def animation(name: str, frames: Sequence[Frame], box: tuple[int, int, int, int]) -> None:
    """A GIF of screenshots, in the colours of all of them, so that nothing flickers."""
    seen = [Image.open(SCREENSHOTS / f"{frame}.png").convert("RGB").crop(box) for frame, _ in frames]
    width, height = seen[0].size
    strip = Image.new("RGB", (width, height * len(seen)))
    for number, image in enumerate(seen):
        strip.paste(image, (0, height * number))
    palette = strip.quantize(COLOURS, Image.Quantize.MEDIANCUT)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in seen]
    path = HERE / "media" / f"{name}.gif"
    first.save(path, save_all=True, append_images=others, duration=[ms for _, ms in frames], loop=0, optimize=True)
    print(f"{path.relative_to(HERE.parents[1])}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    animation("ghost-text", GHOST_TEXT, LINES)
    animation("settling", SETTLING, EDITOR)
