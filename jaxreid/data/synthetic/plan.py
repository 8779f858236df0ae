"""What the synthetic benchmark holds: presets, identities, tracklets and where every body is in every frame.

Everything here is arithmetic on (preset, seed); nothing is drawn. `Plan.to_json` is written beside the pictures, and
`layout` gives the skeletons back from it.
"""

import dataclasses
import math
import os
import pathlib
import typing

import numpy as np

from jaxreid.data.synthetic import camera as camera_lib
from jaxreid.data.synthetic import person as person_lib
from jaxreid.process import json_file

DESCRIPTION = 'info/synthetic.json'  # below a rendered benchmark: what it says about itself
RENDERER_VERSION = 2  # raise whenever the same preset and seed would give other bytes

# Side of the image walked to; yaw in radians.
VIEWS = {'front': 0.0, 'left': -math.pi / 2, 'back': math.pi, 'right': math.pi / 2}
JUNK, DISTRACTOR = -1, 0
# Half of the width that each hides / height of the crop.
OCCLUDERS = {'none': 0.0, 'person': 0.13, 'post': 0.06, 'bush': 0.3, 'crowd': 0.3, 'van': 0.5, 'board': 0.5}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Size and difficulty of a rendered data set."""

    name: str
    height: int  # pixels
    width: int  # pixels
    supersample: int  # drawn this many times larger
    train_ids: int
    test_ids: int
    group_size: int  # look-alikes per group
    group_share: float  # share of the identities that have look-alikes
    cameras: int
    cameras_per_id: tuple[int, int]  # fewest, most
    tracklets_per_camera: tuple[int, int]  # fewest, most, per identity
    distractors: int  # tracklets with id 0
    junk: int  # tracklets with id -1
    fps: float  # frames per second
    median_frames: float  # most tracklet lengths are log-normal ...
    sigma_frames: float  # ... with this standard deviation of the logarithm, 1 % ten times longer ...
    min_frames: int  # ... and cut to this range
    max_frames: int
    occluded: float  # share of tracklets that something passes before
    misaligned: float  # share of tracklets with a shifted or cut-off crop
    seed: int = 0
    staying: float = 0.0  # share of tracklets before which something stays for half of the frames and more
    stripes: float = 0.0  # share of tracklets of which a board hides a quarter of the height for as long
    clutter: float = 0.0  # share of tracklets with a dressed dummy at the camera's place for it
    wander: float = 0.0  # how far boxes are off, as a share of the crop: the tracklet's and every frame's by itself
    only_cadence: bool = False  # look-alikes share build and gait as well and differ in their cadence alone
    light: float = 1.0  # power of the factor by which light differs between walks; 0: not at all
    views: tuple[str, ...] = tuple(VIEWS)  # from which a tracklet draws its own
    outfits: int = 1  # of every identity; each tracklet draws one of them


_PRESET_NAMES = ('tiny', 'demo', 'gait', 'mars_scale')
_PRESET_VALUES: dict[str, tuple[typing.Any, ...]] = {  # one column per preset
    'height': (64, 64, 64, 256),
    'width': (32, 32, 32, 128),
    'supersample': (2, 2, 2, 1),
    'train_ids': (12, 160, 120, 625),
    'test_ids': (10, 100, 80, 636),
    'group_size': (2, 3, 4, 3),
    'group_share': (0.4, 0.15, 0.9, 0.15),
    'cameras': (4, 6, 4, 6),
    'cameras_per_id': ((2, 3), (4, 6), (3, 4), (2, 6)),
    'tracklets_per_camera': ((1, 2), (1, 2), (1, 2), (1, 5)),
    'distractors': (6, 60, 20, 3248),
    'junk': (4, 40, 12, 870),
    'fps': (8.0, 7.0, 8.0, 8.0),
    'median_frames': (8, 13, 24, 46),
    'sigma_frames': (0.5, 0.5, 0.4, 0.72),
    'min_frames': (2, 2, 4, 2),
    'max_frames': (40, 240, 160, 900),
    'occluded': (0.3, 0.25, 0.2, 0.3),
    'misaligned': (0.2, 0.15, 0.1, 0.2),
}
PRESETS = {
    name: Preset(name, **{field: values[column] for field, values in _PRESET_VALUES.items()})
    for column, name in enumerate(_PRESET_NAMES)
}
# Other people, to start networks from (`weights.rendered`): drawn from a seed that no benchmark has.
PRESETS['people'] = dataclasses.replace(PRESETS['demo'], name='people', seed=1000, train_ids=200, test_ids=40)

# One claim each: everything else is easy, so that what the mechanism can gain is not lost in noise.
_CLEAN = dataclasses.replace(
    PRESETS['demo'], train_ids=120, test_ids=80, group_size=2, group_share=0.0, cameras_per_id=(3, 4), distractors=20,
    junk=12, median_frames=12, sigma_frames=0.3, min_frames=8, max_frames=32, occluded=0.0, misaligned=0.0,
)  # fmt: skip
_MOTION: dict[str, typing.Any] = {
    'train_ids': 96, 'test_ids': 60, 'group_share': 1.0, 'fps': 8.0, 'median_frames': 14, 'only_cadence': True,
    'views': ('right',), 'light': 0.25,
}  # fmt: skip
PRESETS |= {
    'occlusion': dataclasses.replace(_CLEAN, name='occlusion', staying=0.52, stripes=0.2),
    'distractors': dataclasses.replace(_CLEAN, name='distractors', clutter=0.85),
    'misaligned': dataclasses.replace(_CLEAN, name='misaligned', wander=0.14),
    'motion': dataclasses.replace(_CLEAN, name='motion', **_MOTION),
    'outfits': dataclasses.replace(
        _CLEAN, name='outfits', train_ids=80, test_ids=60, tracklets_per_camera=(2, 3), outfits=2
    ),
}


@dataclasses.dataclass(frozen=True)
class Walk:
    """One walk of one body before one camera; everything but the drawing follows from it."""

    name: str  # as MARS: 0001C1T0001
    identity: int  # -1 junk, 0 distractor
    person: int  # row of Plan.people
    camera: int  # from 1
    frames: int
    content: str  # person | background
    view: str  # key of VIEWS
    yaw: float  # radians at the start
    turn: float  # radians per second
    phase: float  # radians of the walking cycle at the start
    tempo: float  # factor on the cadence in this tracklet
    tint: tuple[float, float, float]  # factor per RGB channel: sun or shade of this walk
    shift: tuple[float, float]  # misalignment of the crop / its (width, height)
    zoom: float  # factor on the body size
    occluder: str  # none | person | post | bush | crowd | van | board
    occluder_when: str  # none | start | middle | end
    occluder_time: float  # frame at which it is in the middle
    occluder_frames: float  # frames it needs across the crop, signed
    seed: tuple[int, ...]  # of what is drawn per frame: jitter, noise, background place
    occluder_stay: float = 0.0  # frames for which it stays in the middle
    stripe: int = 0  # quarter of the height, from 1 at the top, that a board hides; 0 without one
    clutter: int = -1  # row of Plan.people whose clothes the dummy wears; -1 no dummy
    wander: float = 0.0  # how far the box of every frame is off, standard deviation as a share of the crop
    outfit: int = 0  # which of the identity's outfits, from 1; 0 where everybody has one

    def rng(self, stream: int) -> np.random.Generator:
        """Random numbers of this tracklet for one purpose."""
        return np.random.default_rng((*self.seed, stream))


@dataclasses.dataclass(frozen=True)
class Plan:
    """A whole data set before it is drawn."""

    preset: Preset
    seed: int
    cameras: list[camera_lib.Camera]
    people: list[person_lib.Person]
    identities: dict[int, int]  # id -> row of people
    groups: dict[str, list[list[int]]]  # split -> look-alike groups of ids
    tracklets: dict[str, list[Walk]]  # split (train, test) -> in order of names
    queries: list[int]  # rows of the test tracklets, from 0

    def to_json(self) -> dict[str, typing.Any]:
        """The plan as plain dicts and lists, with the renderer's version."""
        return {
            'version': RENDERER_VERSION,
            'preset': _said(self.preset),
            'seed': self.seed,
            'cameras': [dataclasses.asdict(c) for c in self.cameras],
            'people': [dataclasses.asdict(p) for p in self.people],
            'identities': {str(k): v for k, v in self.identities.items()},
            'groups': self.groups,
            'queries': self.queries,
            'tracklets': {split: [_said(t) for t in rows] for split, rows in self.tracklets.items()},
        }


_SINCE = ('outfits', 'outfit')  # not written where nothing is new: what was rendered before keeps its bytes


def _said(value: Preset | Walk) -> dict[str, typing.Any]:
    kept = [f.name for f in dataclasses.fields(value) if f.name not in _SINCE or getattr(value, f.name) != f.default]
    said = dataclasses.asdict(value)
    return {name: said[name] for name in kept}


def build_dataclass(kind: type, fields: dict[str, typing.Any]) -> typing.Any:
    """A flat dataclass from parsed JSON, whose lists were tuples."""
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def read(root: str | os.PathLike) -> Plan:
    """The plan that a rendered benchmark was drawn by.

    Raises:
      ValueError: its description is damaged; names it.
      OSError: it cannot be read.
    """
    path = pathlib.Path(root, DESCRIPTION)
    said = json_file.read(path, dict[str, typing.Any])
    try:
        return from_json(said)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as e:
        raise ValueError(f'{path} is no description of a rendered benchmark ({e!r}); render it again') from e


def from_json(value: dict[str, typing.Any]) -> Plan:
    """Inverse of `Plan.to_json` (`info/synthetic.json`, parsed)."""

    return Plan(
        preset=build_dataclass(Preset, value['preset']),
        seed=value['seed'],
        cameras=[build_dataclass(camera_lib.Camera, c) for c in value['cameras']],
        people=[
            person_lib.Person(
                build_dataclass(person_lib.Appearance, p['appearance']),
                build_dataclass(person_lib.Build, p['build']),
                build_dataclass(person_lib.Gait, p['gait']),
            )
            for p in value['people']
        ],
        identities={int(k): v for k, v in value['identities'].items()},
        groups=value['groups'],
        tracklets={split: [build_dataclass(Walk, t) for t in rows] for split, rows in value['tracklets'].items()},
        queries=value['queries'],
    )


def _people(preset, seed, split_code, count, seen):
    """Persons of `count` identities and their look-alike groups as lists of positions."""
    rng = np.random.default_rng((seed, 1, split_code))
    groups = int(round(count * preset.group_share / preset.group_size))
    bodies = person_lib.draw_cadences if preset.only_cadence else person_lib.draw_bodies
    sizes = [preset.group_size] * groups + [1] * (count - groups * preset.group_size)
    people: list[person_lib.Person] = []
    lookalikes = []
    for size in sizes:
        appearance = person_lib.draw_appearance(rng)
        while _looks_key(appearance) in seen:
            appearance = person_lib.draw_appearance(rng)
        seen.add(_looks_key(appearance))
        if size > 1:
            lookalikes.append(list(range(len(people), len(people) + size)))
        people.extend(person_lib.Person(appearance, *body) for body in bodies(rng, size))
    order = rng.permutation(count)  # so that ids say nothing about groups
    place = np.argsort(order)
    return [people[i] for i in order], [sorted(int(place[i]) for i in group) for group in lookalikes]


def _dressed(rng, person, seen):
    """A person in other clothes: skin and hair, build and gait stay."""
    body = {name: getattr(person.appearance, name) for name in ('skin', 'hair', 'hair_style')}
    while True:
        appearance = dataclasses.replace(person_lib.draw_appearance(rng), **body)
        if _looks_key(appearance) not in seen:
            seen.add(_looks_key(appearance))
            return dataclasses.replace(person, appearance=appearance)


def _looks_key(a):
    """What two people who are not look-alikes must not have in common as a whole."""
    return a.top, a.top_second, a.pattern, a.pitch, a.sleeve > 1, a.coat, a.bottom, a.bottom_colour, a.hair, a.bag


def _tracklet(preset, rng, *, seed, name, identity, person, camera, people, content='person', spoiled=False):
    """Draws one walk; `spoiled` gives the crops that MARS calls junk."""
    length = preset.median_frames * math.exp(preset.sigma_frames * rng.standard_normal())
    length *= rng.choice((0.2, 1.0, 10.0), p=(0.02, 0.97, 0.01))  # lost at once; or seen for minutes
    frames = int(np.clip(round(length), preset.min_frames, preset.max_frames))
    view = preset.views[int(rng.integers(4)) % len(preset.views)]
    shift, zoom = rng.normal(0, (0.02, 0.008)), 1.0 + rng.normal(0, 0.02)
    if spoiled:
        shift, zoom = rng.uniform(0.3, 0.55, 2) * rng.choice((-1, 1), 2), rng.uniform(0.9, 1.7)
    elif rng.random() < preset.misaligned:
        match int(rng.integers(3)):
            case 0:  # feet or head cut off
                zoom, shift = rng.uniform(1.08, 1.2), np.array([0.0, rng.choice((-1, 1)) * rng.uniform(0.05, 0.12)])
            case 1:  # to one side
                shift = np.array([rng.choice((-1, 1)) * rng.uniform(0.1, 0.2), 0.0])
            case _:  # loose box
                zoom, shift = rng.uniform(0.82, 0.9), rng.normal(0, 0.05, 2)
    occluder = when = 'none'
    time, crossing = 0.0, 1.0
    if rng.random() < preset.occluded:
        occluder = ('person', 'post', 'bush')[int(rng.integers(3))]
        when = ('start', 'middle', 'end')[int(rng.integers(3))]
        time = {'start': 0.08, 'middle': 0.5, 'end': 0.92}[when] * frames
        crossing = rng.choice((-1, 1)) * preset.fps * rng.uniform(0.8, 1.8)
    tint = (rng.uniform(0.75, 1.15) * rng.uniform(0.95, 1.05, 3)) ** preset.light
    made = Walk(
        name=name,
        identity=identity,
        person=person,
        camera=camera,
        frames=frames,
        content=content,
        view=view,
        yaw=float(VIEWS[view] + rng.uniform(-0.35, 0.35)),
        turn=float(rng.normal(0, 0.06)),
        phase=float(rng.uniform(0, 2 * math.pi)),
        tempo=float(np.clip(rng.normal(1.0, 0.03), 0.93, 1.07)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        shift=(float(shift[0]), float(shift[1])),
        zoom=float(zoom),
        occluder=occluder,
        occluder_when=when,
        occluder_time=float(time),
        occluder_frames=float(crossing),
        seed=seed,
    )
    return made if spoiled else _hindered(preset, made, people=people)


def _hindered(preset, tracklet, *, people):
    """The walk with what the presets for one claim put in its way; draws from a stream of its own."""
    rng = tracklet.rng(2)
    frames, changed = tracklet.frames, {}
    kind = rng.random()
    if kind < preset.staying + preset.stripes:
        stay = rng.uniform(0.4, 0.65) * frames
        when = ('start', 'middle', 'end')[int(rng.integers(3))]
        middle = {'start': (stay - 1) / 2, 'middle': (frames - 1) / 2, 'end': frames - (stay + 1) / 2}[when]
        changed = {
            'occluder': 'board' if kind >= preset.staying else ('crowd', 'van')[int(rng.integers(2))],
            'occluder_when': when,
            'occluder_time': middle,
            'occluder_frames': float(rng.choice((-1, 1)) * preset.fps * rng.uniform(0.1, 0.2)),
            'occluder_stay': stay,
            'stripe': int(rng.integers(1, 5)) if kind >= preset.staying else 0,
        }
    if preset.clutter and rng.random() < preset.clutter:
        changed['clutter'] = int(rng.integers(people))
    if preset.wander:
        shift, size = rng.normal(0, preset.wander * np.array((0.7, 0.5)), 2), rng.normal(0, preset.wander)
        changed |= {
            'shift': tuple(np.clip(shift, -0.4, 0.4).tolist()),
            'zoom': float(np.clip(math.exp(size), 0.6, 1.6)),
            'wander': preset.wander,
        }
    return dataclasses.replace(tracklet, **changed)


def clutter_place(plan: Plan, camera: int) -> tuple[float, float]:
    """Where a camera (from 1) has its dummy in every crop: across as a share of the width, and its size as one of the
    height."""
    rng = np.random.default_rng((plan.seed, 8, camera))
    return 0.5 + float(rng.choice((-1, 1)) * rng.uniform(0.3, 0.38)), float(rng.uniform(0.7, 0.85))


def make_plan(preset: Preset, *, seed: int | None = None) -> Plan:
    """Draws identities, cameras, tracklets and queries of a preset; the same for the same (preset, seed)."""
    seed = preset.seed if seed is None else seed
    rng = np.random.default_rng((seed, 0))
    cameras = [camera_lib.draw_camera(rng) for _ in range(preset.cameras)]
    seen: set = set()
    people: list[person_lib.Person] = []
    identities: dict[int, int] = {}
    groups: dict[str, list[list[int]]] = {}
    tracklets: dict[str, list[Walk]] = {}
    for code, (split, count) in enumerate((('train', preset.train_ids), ('test', preset.test_ids))):
        drawn, lookalikes = _people(preset, seed, code, count, seen)
        first_id, first_row = len(identities) + 1, len(people)
        people.extend(drawn)
        identities.update({first_id + i: first_row + i for i in range(count)})
        groups[split] = [[first_id + i for i in group] for group in lookalikes]
        rows = []
        wardrobes = {identity: [identities[identity]] for identity in range(first_id, first_id + count)}
        rng = np.random.default_rng((seed, 10, code))
        for wardrobe in wardrobes.values():
            for _ in range(preset.outfits - 1):
                wardrobe.append(len(people))
                people.append(_dressed(rng, people[wardrobe[0]], seen))
        for identity in range(first_id, first_id + count):
            rng = np.random.default_rng((seed, 2, identity))
            worn = np.random.default_rng((seed, 11, identity))
            number = 0
            seen_by = 1 + rng.choice(
                preset.cameras, int(rng.integers(preset.cameras_per_id[0], preset.cameras_per_id[1] + 1)), replace=False
            )
            group = next((group for group in groups[split] if identity in group), [])
            if preset.only_cadence and split == 'test' and group:
                # A query's own camera holds look-alikes but, by the rule, not the person: no member passes another's.
                shared = np.random.default_rng((seed, 9, group[0])).permutation(preset.cameras)
                seen_by = 1 + shared[group.index(identity) :: len(group)]
            for camera in sorted(int(c) for c in seen_by):
                for _ in range(int(rng.integers(preset.tracklets_per_camera[0], preset.tracklets_per_camera[1] + 1))):
                    number += 1
                    name, who = f'{identity:04d}C{camera}T{number:04d}', {'identity': identity, 'camera': camera}
                    outfit = int(worn.integers(preset.outfits))
                    who |= {'person': wardrobes[identity][outfit], 'people': len(people)}
                    made = _tracklet(preset, rng, seed=(seed, 3, identity, number), name=name, **who)
                    rows.append(dataclasses.replace(made, outfit=outfit + 1) if preset.outfits > 1 else made)
        tracklets[split] = rows

    others, _ = _people(
        dataclasses.replace(preset, group_share=0.0), seed, 2, max(1, (preset.distractors + preset.junk) // 3), seen
    )
    first_row = len(people)
    people.extend(others)
    for code, (identity, count, prefix) in enumerate(
        ((JUNK, preset.junk, '00-1'), (DISTRACTOR, preset.distractors, '0000'))
    ):
        rng = np.random.default_rng((seed, 4, code))
        placed = sorted(int(c) for c in rng.integers(1, preset.cameras + 1, count))
        for number, camera in enumerate(placed, 1):
            content = 'background' if rng.random() < (0.4 if identity == JUNK else 0.25) else 'person'
            name, who = f'{prefix}C{camera}T{number:04d}', {'identity': identity, 'camera': camera}
            who |= {'person': first_row + int(rng.integers(len(others))), 'people': len(people)}
            how = {'content': content, 'spoiled': identity == JUNK}
            tracklets['test'].append(_tracklet(preset, rng, seed=(seed, 5, code, number), name=name, **who, **how))
    for rows in tracklets.values():
        rows.sort(key=lambda t: t.name)
    return Plan(preset, seed, cameras, people, identities, groups, tracklets, _queries(tracklets['test'], seed))


def _queries(rows, seed):
    """One tracklet of every identity, camera and outfit, where another camera has the identity too (the MARS rule)."""
    rng = np.random.default_rng((seed, 6))
    places: dict[int, dict[tuple[int, int], list[int]]] = {}
    for row, tracklet in enumerate(rows):
        if tracklet.identity > 0:
            place = tracklet.camera, tracklet.outfit
            places.setdefault(tracklet.identity, {}).setdefault(place, []).append(row)
    asked = [of.values() for of in places.values() if len({camera for camera, _ in of}) > 1]
    return sorted(int(rng.choice(rows)) for of in asked for rows in of)


class Layout(typing.NamedTuple):
    """Where a tracklet's body is, frame by frame, in pixels of the crop."""

    phase: np.ndarray  # [F] radians
    yaw: np.ndarray  # [F] radians
    scale: np.ndarray  # [F] pixels per metre
    origin: np.ndarray  # [F, 2] pixels, the ground point
    joints: np.ndarray  # [F, J, 2] pixels
    inside: np.ndarray  # [F, J] bool: in the crop
    hidden: np.ndarray  # [F, J] bool: behind the occluder
    path: np.ndarray  # [F] metres walked
    occluder_x: np.ndarray  # [F] pixels, middle of what passes before; far outside where there is none

    @property
    def visible(self) -> np.ndarray:
        """[F, J] bool: inside the crop and not behind the occluder."""
        return self.inside & ~self.hidden


def layout(plan: Plan, tracklet: Walk) -> Layout:
    """Skeleton of every frame of a tracklet, from the plan alone."""
    preset, camera = plan.preset, plan.cameras[tracklet.camera - 1]
    person = plan.people[tracklet.person]
    frames = np.arange(tracklet.frames)
    time = frames / preset.fps
    phase = tracklet.phase + 2 * math.pi * person.gait.cadence * tracklet.tempo * time
    yaw = tracklet.yaw + np.clip(tracklet.turn * time, -0.35, 0.35)
    rng = tracklet.rng(0)
    jitter = rng.normal(0, 1, (tracklet.frames, 3))
    jitter = 0.5 * jitter + 0.5 * np.roll(jitter, 1, 0)  # boxes wander rather than jump
    scale = camera.fill * preset.height / person.build.height * tracklet.zoom * (1 + 0.012 * jitter[:, 2])
    foot = 0.5 * (1 + camera.fill * tracklet.zoom) - 0.012  # the ground point lies above the nearer foot
    origin = np.stack(
        [
            preset.width * (0.5 + tracklet.shift[0] + 0.014 * jitter[:, 0]),
            preset.height * (foot + tracklet.shift[1] + 0.007 * jitter[:, 1]),
        ],
        -1,
    )
    if tracklet.wander:  # boxes that jump, as a detector's do, and come back
        jumps = tracklet.wander * np.clip(tracklet.rng(3).normal(0, 1, (tracklet.frames, 3)), -2, 2)
        scale *= np.exp(0.7 * jumps[:, 2])
        origin += jumps[:, :2] * (0.5 * preset.width, 0.35 * preset.height)
    metres, _ = person_lib.project(person_lib.walk(person.build, person.gait, phase), yaw, pitch=camera.pitch)
    joints = metres * scale[:, None, None] + origin[:, None]
    inside = np.all((joints >= 0) & (joints < (preset.width, preset.height)), axis=-1)
    if tracklet.occluder == 'none':
        occluder_x = np.full(tracklet.frames, -10.0 * preset.width)
        hidden = np.zeros(inside.shape, bool)
    else:
        late = frames - tracklet.occluder_time
        late = np.sign(late) * np.maximum(np.abs(late) - 0.5 * tracklet.occluder_stay, 0)
        occluder_x = preset.width * (0.5 + late / tracklet.occluder_frames)
        hidden = np.abs(joints[..., 0] - occluder_x[:, None]) < OCCLUDERS[tracklet.occluder] * preset.height
        if tracklet.occluder == 'bush':
            hidden &= joints[..., 1] > 0.6 * preset.height
        if tracklet.stripe:
            hidden &= np.floor(joints[..., 1] * (4 / preset.height)) == tracklet.stripe - 1
    leg = person.build.leg * person.build.height
    path = 4 * leg * math.sin(person.gait.stride) * person.gait.cadence * tracklet.tempo * time
    return Layout(phase, yaw, scale, origin, joints, inside, hidden, path, occluder_x)
