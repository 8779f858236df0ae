"""The rendered benchmark as a data set: `jaxreid.data.synthetic` draws it in MARS' layout, and it is read as MARS."""

import collections
import functools
import os
from typing import Any

import numpy as np

from jaxreid.data.datasets import contents, facts, mars
from jaxreid.data.synthetic import plan
from jaxreid.data.tracklets import tracklet
from jaxreid.process import json_file


def _read(data: facts.Settings) -> tracklet.Dataset:
    from jaxreid.data.synthetic import render  # and with it OpenCV, which settings alone do without

    root = render.ensure(data.root, data.preset)
    try:
        return mars.read(root)
    except FileNotFoundError:  # frames were removed: what is drawn again is the same
        render.mend(root)
        return mars.read(root)


def _count(data: facts.Settings) -> contents.Contents:
    """Expects what the plan says that the preset and seed in the folder's description give."""
    dataset = mars.read_lists(data.root)
    description = os.path.join(dataset.root, plan.DESCRIPTION)
    try:
        said = json_file.read(description, dict[str, Any])
        preset = plan.build_dataclass(plan.Preset, said['preset'])
        seed, version = int(said['seed']), said['version']
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{description} cannot be read ({error}); render the benchmark again.') from error
    if version != plan.RENDERER_VERSION:
        raise ValueError(
            f'{description} is of renderer version {version}; this is {plan.RENDERER_VERSION}. Render the benchmark '
            'again.'
        )
    made = plan.make_plan(preset, seed=seed)
    parts = {
        part: tuple([tracklet.Tracklet(t.name, t.identity, t.camera, (t.name,) * t.frames) for t in walks])
        for part, walks in made.tracklets.items()
    }
    query = np.isin(np.arange(len(parts['test'])), made.queries)
    expected = mars.counts(
        tracklet.Dataset('', parts['train'], parts['test'], query=query, gallery=np.ones(len(query), bool))
    )
    return mars.count(dataset)._replace(published=expected, size=(preset.height, preset.width))


def _groups(data: facts.Settings, tracklets: int) -> int:
    """As `identity_sampling` cuts an epoch: an identity's last tracklets too few for a group are left out."""
    return sum(max(count // tracklets, 1) for count in _training_tracklets(data.preset))


@functools.cache
def _training_tracklets(preset: str) -> tuple[int, ...]:
    """Of every identity of a preset."""
    owners = (t.identity for t in plan.make_plan(plan.PRESETS[preset]).tracklets['train'])
    return tuple(collections.Counter(owners).values())


FACTS = facts.Facts(
    name='synthetic',
    about='The rendered benchmark.',
    layout=mars.LAYOUT,
    read=_read,
    num_ids=plan.PRESETS['demo'].train_ids,
    whole=_count,
    groups=_groups,
    presets=tuple(plan.PRESETS),
    rendered=True,
    version=f'{plan.RENDERER_VERSION}.0.0',
    kept_files=(plan.DESCRIPTION,),
)
