"""Pictures of the speed benchmarks' JSON for docs/performance.md.

    python -m benchmarks.chart

Reads benchmarks/results/{train_step,extract}.json and writes docs/images/{train_step,extract}.svg: CPU seconds of
each contender, shorter is better.
"""

import json
import pathlib

from benchmarks import mars_size
from jaxreid.process import whole

IMAGES = pathlib.Path(__file__).parents[1] / 'docs' / 'images'
NAMES = {'c2d': 'C2D', 'strf': 'STRF-P3DC'}
BAR, LEFT, WIDTH = 22, 210, 430  # px
OURS, THEIRS = '#3f51b5', '#b0bec5'


def draw(rows: list[dict], title: str) -> str:
    """An SVG of bars, a group per system; jaxreid in colour."""
    longest = max(row['cpu_s'] for row in rows)
    parts, y, system = [], 34, None
    for row in rows:
        if row['system'] != system:
            system, y = row['system'], y + 26
            parts.append(f'<text x="8" y="{y - 6}" font-weight="bold">{NAMES[system]}, {row["frames"]} frames</text>')
        length = WIDTH * row['cpu_s'] / longest
        colour = OURS if row['what'].startswith('jaxreid') else THEIRS
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{row["what"]}</text>'
            f'<rect x="{LEFT}" y="{y + 2}" width="{length:.0f}" height="{BAR - 4}" fill="{colour}"/>'
            f'<text x="{LEFT + length + 6:.0f}" y="{y + 15}">{row["cpu_s"]:.2f} s</text>'
        )
        y += BAR
    return frame(parts, title, width=LEFT + WIDTH + 70, height=y + 12)


def frame(parts: list[str], title: str, *, width: int, height: int) -> str:
    """The SVG around the parts."""
    size = f'width="{width}" height="{height}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13" fill="#37474f">'
        f'<rect {size} fill="#ffffff"/><text x="8" y="22" font-size="15">{title}</text>{"".join(parts)}</svg>\n'
    )


def main():
    for name, title in (
        ('train_step', 'CPU seconds of a training step, both cores together'),
        ('extract', 'CPU seconds of the features of a batch, both cores together'),
    ):
        found = json.loads((mars_size.RESULTS / f'{name}.json').read_text())
        rows = [row for row in found['rows'] if 'cpu_s' in row]
        with whole.file(IMAGES / f'{name}.svg') as file:
            file.write(draw(rows, f'{title} ({found["device"]}, {found["date"]})').encode())
        print(IMAGES / f'{name}.svg')


if __name__ == '__main__':
    main()
