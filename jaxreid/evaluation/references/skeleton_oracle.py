"""An oracle that knows how a synthetic clip was made: is the difference between look-alikes there to be seen?

`skeleton_accuracy` sees nothing but the two-dimensional skeletons of the frames that a clip samples, rounded to whole
pixels and without joints that are outside the crop or behind something. It knows each look-alike's body and asks
which of them fits best, with the phase of the walk, the cadence of the day, the size and the place of the box
unknown. An upper bound for networks, which have to learn bodies from other tracklets.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxreid.data.synthetic import person as synthetic_person
from jaxreid.data.synthetic import plan as synthetic_plan

_PHASES = 48  # tried phases of the walking cycle
_TEMPOS = (0.95, 1.0, 1.05)  # tried factors on the cadence


@dataclasses.dataclass(frozen=True)
class OracleScore:
    """How often the right one of the look-alikes came first."""

    accuracy: float  # percent of the queries
    chance: float  # percent that guessing would give
    queries: int  # queries that belong to a look-alike group


def skeleton_accuracy(
    description: Mapping[str, Any],
    frames: Mapping[str, Sequence[int] | np.ndarray],
    *,
    use: str = 'both',
    ordered: bool = True,
    pixel: float = 1.0,
) -> OracleScore:
    """Share of queries whose own body fits the sampled skeletons better than its look-alikes' bodies do.

    Args:
      description: `info/synthetic.json`, parsed.
      frames: tracklet name -> indices from 0 of the frames that its clip samples. Tracklets outside look-alike groups
        are ignored.
      use: 'both'; 'gait' compares bodies that share the group's mean build; 'build' bodies that share its mean gait.
      ordered: False forgets when the frames were taken: every frame may be of any phase and size.
      pixel: joints are rounded to multiples of this many pixels.

    Raises:
      ValueError: unknown `use`, an unknown tracklet, a frame outside its tracklet, or no tracklet of a look-alike
        group.
    """
    if use not in ('both', 'gait', 'build'):
        raise ValueError(f"use is {use!r}; choose 'both', 'gait' or 'build'")
    plan = synthetic_plan.from_json(dict(description))
    right, guesses = [], []
    for tracklet, chosen, mates in _queries(plan, frames):
        errors = [_misfit(plan, tracklet, chosen, body, pixel, ordered) for body in _bodies(plan, mates, use)]
        right.append(mates[int(np.argmin(errors))] == tracklet.identity)
        guesses.append(1.0 / len(mates))
    return OracleScore(100.0 * float(np.mean(right)), 100.0 * float(np.mean(guesses)), len(right))


def consecutive_frames(num_frames: int, *, length: int = 4, stride: int = 1) -> np.ndarray:
    """[length] int: a clip from the middle of a tracklet; short tracklets are looped."""
    start = max(0, (num_frames - (length - 1) * stride - 1) // 2)
    return (start + np.arange(length) * stride) % num_frames


def _queries(plan, frames):
    """Yields (tracklet, frame indices, ids of its group) of the tracklets that have look-alikes."""
    group_of = {i: group for groups in plan.groups.values() for group in groups for i in group}
    tracklets = {t.name: t for rows in plan.tracklets.values() for t in rows}
    compared = False
    for name, chosen in frames.items():
        if name not in tracklets:
            raise ValueError(f'{name} is no tracklet of this synthetic data set')
        tracklet, chosen = tracklets[name], np.asarray(chosen, int)
        if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= tracklet.frames:
            raise ValueError(f'{name} has frames 0 to {tracklet.frames - 1}; sampled were {chosen.tolist()}')
        if tracklet.identity in group_of and tracklet.content == 'person':
            compared = True
            yield tracklet, chosen, group_of[tracklet.identity]
    if not compared:
        raise ValueError('none of the sampled tracklets belongs to a look-alike group: there is nothing to tell apart')


def _mean(values):
    """Field-wise mean of dataclasses of numbers."""
    first = values[0]
    return type(first)(
        **{f.name: float(np.mean([getattr(v, f.name) for v in values])) for f in dataclasses.fields(first)}
    )


def _bodies(plan, ids, use):
    people = [plan.people[plan.identities[i]] for i in ids]
    build = _mean([p.build for p in people]) if use == 'gait' else None
    gait = _mean([p.gait for p in people]) if use == 'build' else None
    return [dataclasses.replace(p, build=build or p.build, gait=gait or p.gait) for p in people]


def _misfit(plan, tracklet, chosen, person, pixel, ordered):
    """Smallest mean squared distance in pixels of the seen joints from a body's, over phase, tempo, size and boxes."""
    body = synthetic_plan.layout(plan, tracklet)
    seen = np.round(body.joints[chosen] / pixel) * pixel  # [T, J, 2]
    weight = body.visible[chosen].astype(float)  # [T, J]
    if weight.sum() == 0:
        return 0.0
    camera = plan.cameras[tracklet.camera - 1]
    time = chosen / plan.preset.fps
    start = np.arange(_PHASES) * (2 * np.pi / _PHASES)
    tempo = np.array(_TEMPOS)
    phase = start[:, None, None] + 2 * np.pi * person.gait.cadence * tempo[:, None] * time  # [phases, tempos, T]
    yaw = np.broadcast_to(body.yaw[chosen], phase.shape).ravel()
    joints = synthetic_person.walk(person.build, person.gait, phase.ravel())
    model, _ = synthetic_person.project(joints, yaw, pitch=camera.pitch)
    model = model.reshape(-1, len(chosen), *model.shape[1:])  # [R, T, J, 2] metres

    def centred(points):
        """Without the place of the box, which differs from frame to frame."""
        mass = np.maximum(weight.sum(-1), 1.0)[..., None, None]
        return points - (points * weight[..., None]).sum(-2, keepdims=True) / mass

    seen, model = centred(seen), centred(model)
    w = weight[..., None]
    axes = (1, 2, 3) if ordered else (2, 3)  # what shares one size: the clip, or each frame by itself
    size = (model * seen * w).sum(axes, keepdims=True) / np.maximum(
        (model**2 * w).sum(axes, keepdims=True), 1e-9
    )  # least squares
    rest = ((seen - size * model) ** 2 * w).sum((2, 3))  # [R, T]
    best = rest.sum(1).min() if ordered else rest.min(0).sum()
    return float(best / weight.sum())
