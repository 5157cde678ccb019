"""The bench of repairs as a picture: what each program repairs right, by kind of damage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

from bench.repair_tally import Tally

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = ("#1f5f8b", "#6cb4d9", "#d08c3c", "#a8a29a")


def picture(languages: Mapping[str, Mapping[tuple[str, str, str], Tally]], path: Path) -> None:
    """Bars, one panel a language."""
    figure, panels = plt.subplots(1, len(languages), figsize=(6.2 * len(languages), 4.6), squeeze=False)
    for axes, (language, tallies) in zip(panels[0], languages.items(), strict=True):
        kinds = list(dict.fromkeys(kind for kind, _, _ in tallies))[::-1]
        programs = list(dict.fromkeys(name for _, _, name in tallies))
        height = 0.8 / len(programs)
        for number, name in enumerate(programs):
            shares = []
            for kind in kinds:
                total = Tally()
                for (own, _, program), tally in tallies.items():
                    if (own, program) == (kind, name):
                        total = total.joined(tally)
                shares.append(total.value)
            places = [place + 0.4 - (number + 0.5) * height for place in range(len(kinds))]
            axes.barh(places, shares, height, label=name, color=COLOURS[number % len(COLOURS)])
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_xlim(0, 100)
        axes.set_xlabel("repaired right, %")
        axes.set_title(f"{language}: what was deleted")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=len(programs), frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
