"""A small town: cameras on a ring of streets, and people who walk from one to the next, as videos with the truth.

For systems that give everybody one id over all cameras (`jaxreid.global_ids`). People are drawn as those of the
rendered benchmark, from seeds that none of its presets has.
"""

import dataclasses
import math
import pathlib
from typing import NamedTuple

import cv2
import numpy as np

from jaxreid.data.synthetic import camera as camera_lib
from jaxreid.data.synthetic import drawing
from jaxreid.data.synthetic import plan as plan_lib
from jaxreid.data.synthetic import scene as scene_lib
from jaxreid.process import atomic

RATE = 10.0  # frames per second
_SCALE = 56  # pixels per metre
_WIDTH = 448  # pixels
_REACH = 84  # pixels from the middle of a person, beyond which nothing of them is drawn
_PEOPLE = 2000  # seeds of people begin there
_SPEED = 1.4  # metres per second


@dataclasses.dataclass(frozen=True)
class Town:
    """What is drawn is a function of it."""

    people: int = 30
    cameras: int = 5  # on a ring: from each the ways lead to its two neighbours
    passes: tuple[int, int] = (3, 5)  # fewest, most, of one person before cameras
    arrive_s: float = 200.0  # within which people come
    way_s: tuple[float, float] = (12.0, 25.0)  # shortest, longest way between neighbours
    # How far cameras are off beyond those of the benchmark: white balance, as a share of each channel, and the largest
    # factor of gamma. 0 and 1 draw what version 1 of the town was.
    cast: float = 0.2
    gamma: float = 1.25
    seed: int = 0


class Pass(NamedTuple):
    """One walk through the view of a camera, of both from 0."""

    person: int
    camera: int
    start_s: float
    direction: int  # +1 to the right, -1 to the left
    size: float  # factor: how near the camera


def walks(town: Town) -> list[Pass]:
    """All passes, in the order of people and times."""
    rng = np.random.default_rng((town.seed, 0))
    ways = rng.uniform(*town.way_s, town.cameras)  # from each camera to the next on the ring
    made = []
    for person in range(town.people):
        camera, time = int(rng.integers(town.cameras)), float(rng.uniform(0, town.arrive_s))
        for _ in range(int(rng.integers(town.passes[0], town.passes[1] + 1))):
            step, size = int(rng.choice((-1, 1))), float(rng.uniform(0.82, 1.0))
            made.append(Pass(person, camera, time, step, size))
            way = ways[camera if step > 0 else (camera - 1) % town.cameras]
            time += _crossing_s() + float(way * rng.uniform(0.85, 1.2))
            camera = (camera + step) % town.cameras
    return made


def _crossing_s():
    return (_WIDTH / _SCALE + 2) / _SPEED


def write(folder: pathlib.Path, town: Town) -> list[str]:
    """Draws a town into a folder that is made whole; returns the names of its cameras.

    Of every camera: NAME.avi; NAME.txt, its tracks in the format of MOTChallenge, a number each pass, no person; and
    NAME.gt.txt, the same boxes with the numbers of people, which are common to all cameras.
    """
    preset = dataclasses.replace(plan_lib.PRESETS['demo'], train_ids=max(town.people, 1), test_ids=1)
    plan = plan_lib.make_plan(preset, seed=_PEOPLE + town.seed)
    passes = walks(town)
    names = [f'camera{camera + 1}' for camera in range(town.cameras)]
    seconds = max(one.start_s for one in passes) + _crossing_s() + 1
    with atomic.folder(folder) as partial:
        for camera, name in enumerate(names):
            own = sorted((one for one in passes if one.camera == camera), key=lambda one: one.start_s)
            _write_camera(partial, name, town, plan, camera, own, math.ceil(seconds * RATE))
    return names


def _write_camera(folder, name, town, plan, number, passes, frames):
    rng = np.random.default_rng((town.seed, 1, number))
    camera = _off(camera_lib.draw_camera(rng), town, np.random.default_rng((town.seed, 2, number)))
    scene = scene_lib.draw_scene(rng, pixels_per_metre=_SCALE)[:, :_WIDTH]
    tones = camera_lib.tone_table(camera, (1.0, 1.0, 1.0))
    grain = np.clip(rng.normal(0, camera.noise, (scene.shape[0] + 16, _WIDTH + 16, 3)), -40, 40).astype(np.int16)
    corners = rng.integers(0, 16, (frames, 2))
    figures = [_figure(plan.people[one.person], one, camera, scene.shape[0]) for one in passes]
    depth = sorted(range(len(passes)), key=lambda i: passes[i].size)  # who is near hides who is far
    code = cv2.VideoWriter.fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(folder / f'{name}.avi'), code, RATE, (_WIDTH, scene.shape[0]))
    lines: dict[str, list[str]] = {'txt': [], 'gt.txt': []}
    for frame in range(frames):
        image = scene.copy()
        for i in depth:
            first, parts, x, tint = figures[i]
            if not first <= frame < first + len(x):
                continue
            middle = int(x[frame - first])
            around = image[:, max(middle - _REACH, 0) : max(middle + _REACH, 0)]
            before = around.copy()
            drawing.paint(image, parts, frame - first)
            drawn = (around != before).any(-1)
            around[drawn] = np.clip(around[drawn] * tint, 0, 255).astype(np.uint8)
            rows, columns = np.nonzero(drawn)
            if not len(rows) or not 0 <= x[frame - first] < _WIDTH:  # of whom is half in the image there is a box
                continue
            columns += max(middle - _REACH, 0)
            left, top = int(columns.min()), int(rows.min())
            box = f'{left},{top},{int(columns.max()) + 1 - left},{int(rows.max()) + 1 - top},1,-1,-1,-1'
            lines['txt'].append(f'{frame + 1},{i + 1},{box}')
            lines['gt.txt'].append(f'{frame + 1},{passes[i].person + 1},{box}')
        if camera.blur > 0.2:
            image = cv2.GaussianBlur(image, (0, 0), camera.blur)
        image = cv2.LUT(image, tones)
        y, x = corners[frame]
        image = np.clip(image + grain[y : y + image.shape[0], x : x + _WIDTH], 0, 255).astype(np.uint8)
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    for suffix, text in lines.items():
        (folder / f'{name}.{suffix}').write_text('\n'.join(text) + '\n', encoding='ascii')


def _off(camera, town, rng):
    """A camera as installers leave it: of another white balance and exposure than the next one."""
    gain = tuple(float(one) for one in np.array(camera.gain) * rng.uniform(1 - town.cast, 1 + town.cast, 3))
    return dataclasses.replace(camera, gain=gain, gamma=camera.gamma * float(rng.uniform(1 / town.gamma, town.gamma)))


def _figure(person, one, camera, height):
    """(first frame, parts, [F] where the middle of the person is, in pixels, [3] factor of light) of a pass."""
    scale = _SCALE * one.size
    count = math.ceil(_crossing_s() * RATE)
    time = np.arange(count) / RATE
    x = _WIDTH / 2 - one.direction * (_WIDTH / 2 + _SCALE) + one.direction * _SPEED * _SCALE * time
    rng = np.random.default_rng((one.person, one.camera, round(1000 * one.start_s)))
    phase = rng.uniform(0, 2 * math.pi) + 2 * math.pi * person.gait.cadence * time
    parts = drawing.figure(
        person,
        phase,
        np.full(count, one.direction * math.pi / 2 + rng.uniform(-0.35, 0.35)),
        pitch=camera.pitch,
        scale=np.full(count, scale),
        origin=np.stack([x, np.full(count, (0.72 + 0.25 * one.size) * height)], -1),
    )
    tint = rng.uniform(0.75, 1.15) * rng.uniform(0.95, 1.05, 3)  # sun or shade, as in the benchmark
    return round(one.start_s * RATE), parts, x, tint
