"""Contact sheets of the synthetic benchmark, as docs/synthetic.md shows them.

python -m jaxreid.data.synthetic.sheet demo sheet.png
"""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render
from jaxreid.process import atomic, commands, exit_status


def sheet(
    plan: synthetic_plan.Plan, identities: list[int], *, tracklets: int = 6, frames: int = 3, enlarge: int = 1
) -> np.ndarray:
    """One row per identity: `frames` frames, evenly spread, of each of its first `tracklets` walks.

    Of identities -1 and 0 are junk and distractors; a row has so many `tracklets` of so many `frames`, whose pixels
    become squares of `enlarge`.

    Returns:
      [H, W, 3] uint8 RGB; white between walks and where an identity has fewer.
    """
    renderer = render.Renderer(plan)
    height, width, gap = plan.preset.height, plan.preset.width, max(2, plan.preset.width // 16)
    step = frames * width + gap
    out = np.full((len(identities) * (height + gap), tracklets * step, 3), 255, np.uint8)
    for row, identity in enumerate(identities):
        walks = [t for rows in plan.tracklets.values() for t in rows if t.identity == identity]
        for column, walk in enumerate(walks[:tracklets]):
            chosen = np.linspace(0, walk.frames - 1, frames).round().astype(int)
            strip = np.concatenate(list(renderer.frames(walk, only=chosen)), 1)
            top, left = row * (height + gap), column * step
            out[top : top + height, left : left + strip.shape[1]] = strip
    return out.repeat(enlarge, 0).repeat(enlarge, 1)


def write(preset_name: str, path: pathlib.Path, *, height: int = 0) -> None:
    """Writes a sheet: look-alikes if there are any, six others, distractors, junk; `height` redraws at another size."""
    preset = render.PRESETS[preset_name]
    if height:
        preset = dataclasses.replace(preset, height=height, width=height // 2, supersample=1 if height >= 256 else 2)
    plan = synthetic_plan.make_plan(preset)
    group = plan.groups['test'][0] if plan.groups['test'] else []
    others = [
        i for i in range(preset.train_ids + 1, preset.train_ids + 40) if not any(i in g for g in plan.groups['test'])
    ]
    image = sheet(plan, [*group, *others[:6], 0, -1], enlarge=2 if preset.height < 128 else 1)
    done, data = cv2.imencode(path.suffix or '.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f'OpenCV could not encode {path}')
    atomic.write(path, data.tobytes())


def run(argv: Sequence[str]) -> int:
    """Parses and writes; expected errors become one message and an exit status."""
    parser = commands.parser('sheet', __doc__)
    parser.add_argument('preset', choices=tuple(render.PRESETS))
    parser.add_argument('out', type=pathlib.Path, metavar='OUT.png')
    parser.add_argument('height', type=int, nargs='?', default=0, help='of a frame, in pixels (as in the preset)')
    options = parser.parse_args(argv)
    return exit_status.run(lambda: write(options.preset, options.out, height=options.height))


if __name__ == '__main__':
    sys.exit(run(sys.argv[1:]))
