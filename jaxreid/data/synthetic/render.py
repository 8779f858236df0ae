"""Rendered benchmark of walking people, written once and in MARS layout, so that everything after the reader meets it
as the real thing.

`ensure` is the entry; what is in a data set is decided in `plan`, bodies are in `person`, drawing in `drawing` and
`scene`. docs/synthetic.md shows the outcome.
"""

import dataclasses
import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import typing
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import tqdm

from jaxreid.data.synthetic import attributes, drawing
from jaxreid.data.synthetic import camera as camera_lib
from jaxreid.data.synthetic import person as person_lib
from jaxreid.data.synthetic import plan as plan_lib
from jaxreid.data.synthetic import scene as scene_lib
from jaxreid.process import atomic, cache, json_file

Preset = plan_lib.Preset
PRESETS = plan_lib.PRESETS

_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92]
# At 64x32 halved colour resolution would blur the patterns away; large crops are stored as MARS stores them.
_JPEG_SMALL = [*_JPEG, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_CROP_METRES = 1.95  # height of what a crop shows


class Renderer:
    """Draws the tracklets of a plan; keeps the scenes that it has drawn."""

    def __init__(self, plan: plan_lib.Plan):
        self.plan = plan
        self._scenes: dict[int, np.ndarray] = {}

    @property
    def _pixels_per_metre(self):
        return self.plan.preset.height * self.plan.preset.supersample / _CROP_METRES

    def scene(self, camera: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB strip behind camera `camera` (from 1)."""
        if camera not in self._scenes:
            rng = np.random.default_rng((self.plan.seed, 7, camera))
            self._scenes[camera] = scene_lib.draw_scene(rng, pixels_per_metre=self._pixels_per_metre)
        return self._scenes[camera]

    def frames(
        self, tracklet: plan_lib.Walk, *, only: Sequence[int] | np.ndarray | None = None, noise: bool = True
    ) -> Iterator[np.ndarray]:
        """Draws the crops of a tracklet, [H, W, 3] uint8 RGB, or those with an index in `only`, on which no pixel
        depends.
        """
        preset, camera = self.plan.preset, self.plan.cameras[tracklet.camera - 1]
        sample = preset.supersample
        size = (preset.height * sample, preset.width * sample)
        body = plan_lib.layout(self.plan, tracklet)
        rng = tracklet.rng(1)
        chosen = np.arange(tracklet.frames) if only is None else np.asarray(only, int)
        parts = []
        if tracklet.content == 'person':
            parts = drawing.figure(
                self.plan.people[tracklet.person],
                body.phase[chosen],
                body.yaw[chosen],
                pitch=camera.pitch,
                scale=body.scale[chosen] * sample,
                origin=body.origin[chosen] * sample,
            )
        scene = self.scene(tracklet.camera)
        left = rng.uniform(0, scene.shape[1]) + np.sin(body.yaw) * body.path * self._pixels_per_metre
        # Coming closer, the camera's box shrinks the scene: the window widens slowly, and narrows for
        # somebody who leaves.
        zoom = np.clip(1.05 - 0.03 * np.cos(body.yaw) * body.path, 0.85, 1.3) * rng.uniform(0.9, 1.1)
        top = rng.uniform(0.24, 0.3) * scene.shape[0] - 0.5 * (zoom - 1.0) * size[0]
        occluder = self._occluder(tracklet, body, rng)
        dummy = self._dummy(tracklet)
        table = camera_lib.tone_table(camera, tracklet.tint)
        grain = rng.normal(0, camera.noise, (preset.height + 16, preset.width + 16, 3))
        grain = np.clip(grain, -40, 40).astype(np.int16)
        corners = rng.integers(0, 16, (tracklet.frames, 2))
        sigma = camera.blur * size[0] / 128.0
        for place, i in enumerate(chosen):
            image = scene_lib.window(scene, left=left[i], top=top[i], zoom=zoom[i], size=size)
            drawing.paint(image, dummy, 0)
            if parts:
                self._shadow(image, body.origin[i] * sample, body.scale[i] * sample)
                drawing.paint(image, parts, place)
            occluder(image, i)
            if sigma > 0.2:
                image = cv2.GaussianBlur(image, (0, 0), sigma)
            if sample > 1:
                image = cv2.resize(image, (preset.width, preset.height), interpolation=cv2.INTER_AREA)
            image = cv2.LUT(image, table)
            if noise:
                y, x = corners[i]
                image = np.clip(image + grain[y : y + preset.height, x : x + preset.width], 0, 255).astype(np.uint8)
            yield image

    @staticmethod
    def _shadow(image, origin, scale):
        """Darkens the ground below the feet."""
        x, y, rx, ry = int(origin[0]), int(origin[1] + 0.02 * scale), int(0.32 * scale), max(1, int(0.05 * scale))
        y0, y1, x0, x1 = max(y - ry, 0), min(y + ry, image.shape[0]), max(x - rx, 0), min(x + rx, image.shape[1])
        if y1 > y0 and x1 > x0:
            rows, columns = np.ogrid[y0:y1, x0:x1]
            inside = np.clip(1.0 - ((columns - x) / rx) ** 2 - ((rows - y) / ry) ** 2, 0, 1)
            image[y0:y1, x0:x1] = (image[y0:y1, x0:x1] * (1.0 - 0.5 * inside[..., None])).astype(np.uint8)

    def _dummy(self, tracklet):
        """Parts of the dressed dummy that stands at the camera's place for it, in one frame; none without one."""
        if tracklet.clutter < 0:
            return []
        preset = self.plan.preset
        height, width = (n * preset.supersample for n in (preset.height, preset.width))
        across, size = plan_lib.clutter_place(self.plan, tracklet.camera)
        dressed = self.plan.people[tracklet.clutter]
        return drawing.figure(
            dressed,
            np.full(1, np.pi / 2),  # legs side by side
            np.zeros(1),
            pitch=0.1,
            scale=np.full(1, size * height / dressed.build.height),
            origin=np.array([[across * width, 0.93 * height]]),
        )

    def _crowd(self, tracklet, x, rng):
        """Parts of two people who stand close before the camera, their middle at `x` [F]."""
        sample = self.plan.preset.supersample
        height, parts = self.plan.preset.height * sample, []
        for side in (-1, 1):
            passer = self.plan.people[int(rng.integers(len(self.plan.people)))]
            parts += drawing.figure(
                passer,
                rng.uniform(0, 6.28) + 0.3 * np.arange(tracklet.frames),
                np.full(tracklet.frames, rng.uniform(-0.5, 0.5) + np.pi * int(rng.integers(2))),
                pitch=0.1,
                scale=np.full(tracklet.frames, 1.15 * height / passer.build.height),
                origin=np.stack([x + side * 0.12 * height, np.full(tracklet.frames, 1.12 * height)], -1),
            )
        return parts

    def _occluder(self, tracklet, body, rng):
        """A function (image, frame) that draws what passes before the person, if anything does."""
        preset = self.plan.preset
        sample, height = preset.supersample, preset.height * preset.supersample
        x = body.occluder_x * sample
        reach = float(preset.width)
        if tracklet.occluder_stay:
            reach = preset.width / 2 + plan_lib.OCCLUDERS[tracklet.occluder] * preset.height
        inside = np.abs(x / sample - preset.width / 2) < reach
        match tracklet.occluder:
            case 'person':
                # Anybody but an identity whose label this tracklet could be mistaken for: a look at
                # random into the crowd.
                passer = self.plan.people[int(rng.integers(len(self.plan.people)))]
                scale = 1.06 * preset.height * sample * 0.9 / passer.build.height
                crossing = np.pi / 2 * np.sign(tracklet.occluder_frames)
                steps = np.arange(tracklet.frames) / preset.fps
                parts = drawing.figure(
                    passer,
                    rng.uniform(0, 6.28) + 2 * np.pi * passer.gait.cadence * steps,
                    np.full(tracklet.frames, crossing),
                    pitch=0.1,
                    scale=np.full(tracklet.frames, scale),
                    origin=np.stack([x, np.full(tracklet.frames, 1.02 * height)], -1),
                )
                return lambda image, i: drawing.paint(image, parts, i) if inside[i] else None
            case 'crowd':
                crowd = self._crowd(tracklet, x, rng)
                return lambda image, i: drawing.paint(image, crowd, i) if inside[i] else None
            case 'van':
                paint = np.array(scene_lib.THINGS[int(rng.integers(len(scene_lib.THINGS)))], float)
                return lambda image, i: scene_lib.draw_van(image, x[i], paint) if inside[i] else None
            case 'board':
                slats = np.array(list(person_lib.CLOTH.values()))[rng.integers(len(person_lib.CLOTH), size=2)]
                return lambda image, i: scene_lib.draw_board(image, x[i], tracklet.stripe, slats) if inside[i] else None
            case 'post':
                colour = np.array(((104, 82, 62), (128, 130, 132), (84, 96, 84))[int(rng.integers(3))], float)
                return lambda image, i: scene_lib.draw_post(image, x[i], 0.12 * height, colour)
            case 'bush':
                ranges = ((-1, 1, 1), (0, 1, 0.7), (0.4, 1, 1), (0.6, 1.35, 1))  # low, high, power
                leaves = np.stack([rng.uniform(low, high, 90) ** power for low, high, power in ranges], -1)
                leaves = leaves[np.argsort(-leaves[:, 1], kind='stable')]
                colour = np.array((70, 108, 56)) * rng.uniform(0.8, 1.2)
                return lambda image, i: (
                    scene_lib.draw_bush(image, x[i], 0.55 * height, leaves, colour) if inside[i] else None
                )
            case _:
                return lambda image, i: None

    def write(self, folder: pathlib.Path, tracklet: plan_lib.Walk) -> None:
        """Writes the JPEG files of a tracklet into `folder`, which exists."""
        flags = _JPEG_SMALL if self.plan.preset.height <= 128 else _JPEG
        for i, image in enumerate(self.frames(tracklet), 1):
            done, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
            if not done:
                raise RuntimeError(f'OpenCV could not encode frame {i} of {tracklet.name}')
            (folder / f'{tracklet.name}F{i:03d}.jpg').write_bytes(data.tobytes())


def ensure(
    root: str | pathlib.Path, preset: str, *, seed: int | None = None, workers: int | None = None, progress: bool = True
) -> pathlib.Path:
    """Renders a preset once and returns its folder, in MARS layout and with `info/synthetic.json`.

    `root` '' takes a folder of its own below `cache.folder()`, `seed` None the preset's, `workers` None as many
    processes as the cores that this one may use; the files do not depend on their number.

    Raises:
      ValueError: unknown preset, or a negative seed.
      FileExistsError: `root` holds something else: other files, or another preset, seed or version; it is left so.
      OSError: the folder cannot be written.
    """
    if preset not in PRESETS:
        raise ValueError(f'there is no synthetic preset {preset!r}; choose one of {", ".join(PRESETS)}')
    chosen = PRESETS[preset]
    seed = chosen.seed if seed is None else seed
    if seed < 0:
        raise ValueError(f'the seed of the synthetic benchmark is {seed}; it must be 0 or more')
    if str(root) == '':
        root = cache.folder() / f'synthetic-{preset}-seed{seed}-v{plan_lib.RENDERER_VERSION}'
    return ensure_preset(pathlib.Path(root), chosen, seed=seed, workers=workers, progress=progress)


def ensure_preset(
    root: pathlib.Path, preset: Preset, *, seed: int, workers: int | None = None, progress: bool = True
) -> pathlib.Path:
    """`ensure` for a preset that need not be in `PRESETS`."""
    root = pathlib.Path(os.path.abspath(root))
    if _is_rendered(root, preset, seed):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)

    def say() -> None:
        if progress:
            print(f'another process renders below {root.parent}: waiting for it', file=sys.stderr, flush=True)

    with atomic.lock(root.parent, busy=say):
        if _is_rendered(root, preset, seed):  # by whoever held the lock
            return root
        try:
            with atomic.folder(root) as partial:
                render(partial, preset, seed=seed, workers=workers, progress=progress)
        except OSError:
            if not _is_rendered(root, preset, seed):  # where locks do not work, another run may have been first
                raise
    return root


def mend(root: pathlib.Path) -> None:
    """Draws the tracklets of a rendered folder again that lack frames."""
    plan = plan_lib.read(root)
    renderer = Renderer(plan)
    for split, tracklet in _all_tracklets(plan):
        folder = root / f'bbox_{split}' / tracklet.name[:4]
        if not all((folder / f'{tracklet.name}F{i:03d}.jpg').is_file() for i in range(1, tracklet.frames + 1)):
            folder.mkdir(parents=True, exist_ok=True)
            renderer.write(folder, tracklet)


def _is_rendered(root, preset, seed):
    """Whether `root` holds this data set; refuses a folder with anything else in it."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise FileExistsError(
            f'{root} is a file; the synthetic benchmark needs a folder of its own: give another data.root'
        )
    if not any(root.iterdir()):
        return False
    description = root / plan_lib.DESCRIPTION
    advice = "give another data.root, leave it empty for the user's cache, or remove the folder yourself"
    if not description.is_file():
        raise FileExistsError(
            f'{root} is not empty and has no info/synthetic.json, so it is not a rendered benchmark; {advice}'
        )
    try:
        said = json_file.read(description, dict[str, typing.Any])
        # What a preset has learnt to say since then, it says by a default that draws as before.
        since = {f.name: f.default for f in dataclasses.fields(Preset) if f.default is not dataclasses.MISSING}
        held = (json.loads(json.dumps(since)) | said['preset'], said['seed'], said['version'])
    except (ValueError, KeyError, TypeError) as error:
        raise FileExistsError(f'{description} cannot be read ({error}); {advice}') from error
    wanted = (json.loads(json.dumps(dataclasses.asdict(preset))), seed, plan_lib.RENDERER_VERSION)
    if held != wanted:
        raise FileExistsError(
            f'{root} holds the synthetic benchmark {_describe(*held)}, '
            f'but {_describe(*wanted)} was asked for; {advice}'
            + (' (the presets differ in ' + _differences(held[0], wanted[0]) + ')' if held[0] != wanted[0] else '')
        )
    return True


def _describe(preset, seed, version):
    return f'preset {preset.get("name")!r}, seed {seed}, renderer version {version}'


def _differences(held, wanted):
    names = [key for key in wanted if held.get(key) != wanted[key]]
    return ', '.join(f'{key}: {held.get(key)} there, {wanted[key]} wanted' for key in names)


def render(
    folder: pathlib.Path, preset: Preset, *, seed: int, workers: int | None = None, progress: bool = True
) -> None:
    """Writes all files of a data set into `folder`, which exists and is empty."""
    plan = plan_lib.make_plan(preset, seed=seed)
    info = folder / 'info'
    info.mkdir()
    for split, rows in plan.tracklets.items():
        for name in sorted({t.name[:4] for t in rows}):
            (folder / f'bbox_{split}' / name).mkdir(parents=True)
        names = [f'{t.name}F{i:03d}.jpg' for t in rows for i in range(1, t.frames + 1)]
        (info / f'{split}_name.txt').write_text('\n'.join(names) + '\n', encoding='ascii')
        ends = np.cumsum([t.frames for t in rows])
        table = np.array([(end - t.frames + 1, end, t.identity, t.camera) for t, end in zip(rows, ends)], np.int32)
        _save_mat(info / f'tracks_{split}_info.mat', f'track_{split}_info', table)
    _save_mat(info / 'query_IDX.mat', 'query_IDX', np.array([plan.queries], np.uint16) + np.uint16(1))

    total = sum(t.frames for _, t in _all_tracklets(plan))
    if workers is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
        workers = max(1, min(cores, total // 500))  # starting a process costs about as much as 300 small frames
    with tqdm.tqdm(
        total=total, desc=f'Rendering {preset.name}', unit='frame', disable=not progress, mininterval=0.5
    ) as bar:
        if workers == 1:
            renderer = Renderer(plan)
            for split, tracklet in _all_tracklets(plan):
                renderer.write(folder / f'bbox_{split}' / tracklet.name[:4], tracklet)
                bar.update(tracklet.frames)
        else:
            _render_in_processes(folder, preset, seed, workers, bar)
    attributes.write(folder, plan)
    # Last, since it is what makes the folder a data set.
    (info.parent / plan_lib.DESCRIPTION).write_text(json.dumps(plan.to_json()), encoding='utf-8')


def _save_mat(path, name, value):
    """As `scipy.io.savemat`, but without the date in the header, so that equal data give equal bytes."""
    import scipy.io  # the choices of a config know the presets, and what reads settings alone does without SciPy

    scipy.io.savemat(path, {name: value})
    data = bytearray(path.read_bytes())
    data[:116] = b'MATLAB 5.0 MAT-file, written by jaxreid'.ljust(116)
    path.write_bytes(data)


def _all_tracklets(plan):
    return [(split, t) for split, rows in plan.tracklets.items() for t in rows]


def _render_in_processes(folder, preset, seed, workers, bar):
    """Lets fresh interpreters draw every `workers`-th tracklet each.

    Not `multiprocessing`: 'fork' is unsafe once JAX runs threads, and 'spawn' imports the caller's main script again,
    which starts
    a second run wherever that script has no `__main__` guard.
    """
    job = json.dumps({'folder': str(folder), 'preset': dataclasses.asdict(preset), 'seed': seed, 'workers': workers})
    package_root = str(pathlib.Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, (package_root, os.environ.get('PYTHONPATH'))))
    reading, writing = os.pipe()
    children = []
    with tempfile.TemporaryFile('w+') as errors, os.fdopen(reading) as counts:
        try:
            for worker in range(workers):
                command = [sys.executable, '-m', 'jaxreid.data.synthetic.render', str(worker), job]
                children.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=writing,
                        stderr=errors,
                        env={**os.environ, 'PYTHONPATH': path},
                    )
                )
            os.close(writing)
            writing = -1
            for line in counts:  # one short line a tracklet from whichever worker, until all have closed the pipe
                bar.update(int(line))
            failed = [child.wait() for child in children if child.wait() != 0]
            if failed:
                errors.seek(0)
                raise OSError(
                    f'rendering into {folder} failed (worker exit status {failed[0]}):\n{errors.read()[-2000:].strip()}'
                )
        finally:
            if writing >= 0:
                os.close(writing)
            for child in children:
                if child.poll() is None:
                    child.kill()
                child.wait()


def _work(worker: int, job: dict[str, typing.Any]) -> None:
    """What one rendering process does; ends with BrokenPipeError once the parent is gone."""
    cv2.setNumThreads(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its children
    plan = plan_lib.make_plan(plan_lib.build_dataclass(Preset, job['preset']), seed=job['seed'])
    renderer = Renderer(plan)
    folder = pathlib.Path(job['folder'])
    report = functools.partial(os.write, sys.stdout.fileno())
    for split, tracklet in _all_tracklets(plan)[worker :: job['workers']]:
        renderer.write(folder / f'bbox_{split}' / tracklet.name[:4], tracklet)
        report(f'{tracklet.frames}\n'.encode())


if __name__ == '__main__':
    _work(int(sys.argv[1]), json.loads(sys.argv[2]))
