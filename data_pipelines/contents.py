"""What is in a data set's folder, all of its parts: tracklets, and counts beside the published ones."""

import collections
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from data_pipelines import published_counts
from data_pipelines.published_counts import Count
from jaxreid.data.datasets import dukev, ilids, lsvid, manifest, mars, prid
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.tracklets import tracklet as tracklet_lib

DATASETS = ('mars', 'dukev', 'ilids', 'prid', 'lsvid', 'synthetic', 'manifest')
_PRID_FEW, _PRID_ENOUGH = 21, 27  # frames in both cameras
_BY_F = re.compile(r'F(\d+)')  # MARS and Duke: the frame in its tracklet
_LAST = re.compile(r'(\d+)\.\w+$')


class Contents(NamedTuple):
    """A data set as its reader finds it."""

    root: str  # folder that the frames' paths start from
    parts: Mapping[str, Sequence[tracklet_lib.Tracklet]]  # train, test and the like
    counts: dict[str, Count]
    published: Mapping[str, Count]  # the same names; empty where nothing is published
    folders: tuple[str, ...]  # below root; each image in them should belong to a tracklet
    deep: bool = True  # and those in folders below them
    size: tuple[int, int] | None = None  # height and width of all frames, where it is known
    counted_from: int | None = None  # number of a tracklet's first frame, where it is always the same


def read(dataset: str, root: str | os.PathLike, *, frames_root: str = '') -> Contents:
    """All parts of a data set. Opens no image; frames that lists name may be missing.

    Args:
      dataset: one of DATASETS.
      root: its folder; of a manifest, the file.
      frames_root: manifest: folder that its paths start from.

    Raises:
      OSError, ValueError: as the data set's reader.
    """
    match dataset:
        case 'mars':
            return _mars(mars.read_lists(root), published_counts.MARS)
        case 'synthetic':
            return _synthetic(root)
        case 'dukev':
            return _dukev(root)
        case 'ilids':
            return _ilids(root)
        case 'prid':
            return _prid(root)
        case 'lsvid':
            return _lsvid(root)
        case 'manifest':
            return _manifest(root, frames_root)
        case _:
            raise ValueError(f'unknown data set {dataset!r}; expected one of {", ".join(DATASETS)}.')


def frame_numbers(dataset: str, frames: Iterable[str]) -> list[int]:
    """Numbers in the names of a tracklet's frames; [] where a name has none."""
    pattern = _BY_F if dataset in ('mars', 'synthetic', 'dukev') else _LAST
    found = [pattern.search(frame.rpartition('/')[2]) for frame in frames]
    return [int(match.group(1)) for match in found if match] if all(found) else []


def _ids(tracklets: Iterable[tracklet_lib.Tracklet]) -> set[int]:
    return {tracklet.pid for tracklet in tracklets}


def _frames(tracklets: Iterable[tracklet_lib.Tracklet]) -> int:
    return sum(len(tracklet.frames) for tracklet in tracklets)


def _per_camera(cameras: Iterable[int], highest: int) -> tuple[int, ...]:
    counted = collections.Counter(cameras)
    return tuple([counted[camera] for camera in range(1, highest + 1)])


def _folders(tracklets: Iterable[tracklet_lib.Tracklet], *, below: int) -> tuple[str, ...]:
    """The folders that are `below` levels above the frames."""
    return tuple(sorted({'/'.join(t.frames[0].split('/')[:-below]) for t in tracklets}))


def _marked(tracklets: Sequence[tracklet_lib.Tracklet], marks: np.ndarray) -> list[tracklet_lib.Tracklet]:
    return [tracklets[row] for row in np.flatnonzero(marks).tolist()]


def _mars(
    dataset: tracklet_lib.Dataset, published: Mapping[str, Count], size: tuple[int, int] | None = None
) -> Contents:
    train, test = dataset.train, dataset.test
    query = _marked(test, dataset.query)
    junk = [t for t in test if t.pid == tracklet_lib.JUNK_ID]
    distractors = [t for t in test if t.pid == tracklet_lib.DISTRACTOR_ID]
    people = _ids(test) - {tracklet_lib.JUNK_ID, tracklet_lib.DISTRACTOR_ID}
    counts: dict[str, Count] = {
        'train ids': len(_ids(train)),
        'train tracklets': len(train),
        'train tracklets per camera': _per_camera((t.camera for t in train), 6),
        'train frames': _frames(train),
        'test ids': len(people),
        'test tracklets': len(test),
        'test tracklets per camera': _per_camera((t.camera for t in test), 6),
        'test frames': _frames(test),
        'junk tracklets': len(junk),
        'junk frames': _frames(junk),
        'distractor tracklets': len(distractors),
        'distractor frames': _frames(distractors),
        'query ids': len(_ids(query)),
        'queries': len(query),
        'queries per camera': _per_camera((t.camera for t in query), 6),
        'query frames': _frames(query),
        'ids in train and test': len(_ids(train) & people),
    }
    parts = {'train': train, 'test': test}
    folders = _folders((*train, *test), below=2)
    return Contents(dataset.root, parts, counts, published, folders, size=size, counted_from=1)


def _synthetic(root: str | os.PathLike) -> Contents:
    """Expects what the plan says that the preset and seed in the folder's description give."""
    dataset = mars.read_lists(root)
    description = os.path.join(dataset.root, 'info', 'synthetic.json')
    try:
        with open(description, encoding='utf-8') as file:
            found = json.load(file)
        preset = synthetic_plan.build_dataclass(synthetic_plan.Preset, found['preset'])
        seed, version = int(found['seed']), found['version']
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{description} cannot be read ({error}); render the benchmark again.') from error
    if version != synthetic_plan.RENDERER_VERSION:
        raise ValueError(
            f'{description} is of renderer version {version}; this is {synthetic_plan.RENDERER_VERSION}. Render the '
            'benchmark again.'
        )
    plan = synthetic_plan.make_plan(preset, seed=seed)
    train, test = plan.tracklets['train'], plan.tracklets['test']
    query = [test[row] for row in plan.queries]
    people = {t.identity for t in test if t.identity > 0}
    expected: dict[str, Count] = {
        'train ids': len({t.identity for t in train}),
        'train tracklets': len(train),
        'train tracklets per camera': _per_camera((t.camera for t in train), 6),
        'train frames': sum(t.frames for t in train),
        'test ids': len(people),
        'test tracklets': len(test),
        'test tracklets per camera': _per_camera((t.camera for t in test), 6),
        'test frames': sum(t.frames for t in test),
        'junk tracklets': preset.junk,
        'junk frames': sum(t.frames for t in test if t.identity == synthetic_plan.JUNK),
        'distractor tracklets': preset.distractors,
        'distractor frames': sum(t.frames for t in test if t.identity == synthetic_plan.DISTRACTOR),
        'query ids': len({t.identity for t in query}),
        'queries': len(query),
        'queries per camera': _per_camera((t.camera for t in query), 6),
        'query frames': sum(t.frames for t in query),
        'ids in train and test': 0,
    }
    return _mars(dataset, expected, (preset.height, preset.width))


def _dukev(root: str | os.PathLike) -> Contents:
    dataset = dukev.read(root)
    train = dataset.train
    query, gallery = _marked(dataset.test, dataset.query), _marked(dataset.test, dataset.gallery)
    cameras: dict[int, set[int]] = {}
    for tracklet in gallery:
        cameras.setdefault(tracklet.pid, set()).add(tracklet.camera)
    held = {t.name.removeprefix('gallery/') for t in gallery}
    counts: dict[str, Count] = {
        'train ids': len(_ids(train)),
        'train tracklets': len(train),
        'train tracklets per camera': _per_camera((t.camera for t in train), 8),
        'train frames': _frames(train),
        'query ids': len(_ids(query)),
        'queries': len(query),
        'queries per camera': _per_camera((t.camera for t in query), 8),
        'query frames': _frames(query),
        'gallery ids': len(cameras),
        'gallery ids of one camera': sum(len(seen) == 1 for seen in cameras.values()),
        'gallery tracklets': len(gallery),
        'gallery tracklets per camera': _per_camera((t.camera for t in gallery), 8),
        'gallery frames': _frames(gallery),
        'queries in the gallery as well': sum(t.name.removeprefix('query/') in held for t in query),
    }
    parts = {'train': train, 'query': query, 'gallery': gallery}
    return Contents(dataset.root, parts, counts, published_counts.DUKEV, _folders((*train, *query, *gallery), below=3))


def _ilids(root: str | os.PathLike) -> Contents:
    splits = [ilids.read(root, split=split) for split in range(10)]  # each row of the split file is checked
    first = splits[0]
    everyone = sorted((*first.train, *first.test), key=lambda t: t.name)
    lengths = [[len(t.frames) for t in everyone if t.camera == camera] for camera in (1, 2)]
    counts: dict[str, Count] = {
        'persons': len(_ids(everyone)),
        'highest number of a person': max(_ids(everyone)),
        'tracklets': len(everyone),
        'splits': len({tuple([t.name for t in split.test]) for split in splits}),
        'train ids of a split': len(_ids(first.train)),
        'queries of a split': int(first.query.sum()),
        'fewest frames of a tracklet per camera': tuple(map(min, lengths)),
        'most frames of a tracklet per camera': tuple(map(max, lengths)),
        'mean frames of a tracklet, camera 1': round(float(np.mean(lengths[0])), 2),
        'mean frames of a tracklet, camera 2': round(float(np.mean(lengths[1])), 2),
    }
    return Contents(first.root, {'all': everyone}, counts, published_counts.ILIDS, _folders(everyone, below=3))


def _prid(root: str | os.PathLike) -> Contents:
    everyone = prid.everyone(root)
    frames = [{t.pid: len(t.frames) for t in everyone if t.camera == camera} for camera in (1, 2)]
    both = {pid for pid in set(frames[0]) & set(frames[1]) if pid <= prid.LAST_SHARED}
    few, enough = ({p for p in both if min(frames[0][p], frames[1][p]) >= n} for n in (_PRID_FEW, _PRID_ENOUGH))
    in_splits = set().union(*prid.people(split=0, persons=178))
    counts: dict[str, Count] = {
        'persons of camera a': len(frames[0]),
        'persons of camera b': len(frames[1]),
        'persons in both cameras': len(both),
        'persons with 21 or more frames in both': len(few),
        'persons with 27 or more frames in both': len(enough),
        'of these, persons of the ten splits': len(enough & in_splits),
    }
    where = os.path.abspath(os.path.expanduser(os.fspath(root)))
    return Contents(
        where, {'all': everyone}, counts, published_counts.PRID, _folders(everyone, below=3), counted_from=1
    )


def _lsvid(root: str | os.PathLike) -> Contents:
    dataset = lsvid.read(root)
    try:
        val: tuple[tracklet_lib.Tracklet, ...] = lsvid.read(root, part='val').test
    except FileNotFoundError:  # not every copy has it; its counts tell
        val = ()
    parts = {'train': dataset.train, 'val': val, 'test': dataset.test}
    everyone = (*dataset.train, *val, *dataset.test)
    people = {part: _ids(tracklets) - {tracklet_lib.JUNK_ID} for part, tracklets in parts.items()}
    counts: dict[str, Count] = {
        'cameras': len({t.camera for t in everyone}),
        'ids': sum(map(len, people.values())),
        'tracklets': len(everyone),
        'frames': _frames(everyone),
    }
    for part, tracklets in parts.items():
        counts[f'{part} ids'] = len(people[part])
        counts[f'{part} frames'] = _frames(tracklets)
    folders = tuple(sorted({t.frames[0].split('/')[0] for t in everyone}))
    return Contents(dataset.root, parts, counts, published_counts.LSVID, folders)


def _manifest(path: str | os.PathLike, frames_root: str) -> Contents:
    dataset = manifest.read(path, frames_root=frames_root)
    query, gallery = _marked(dataset.test, dataset.query), _marked(dataset.test, dataset.gallery)
    everyone = (*dataset.train, *dataset.test)
    counts: dict[str, Count] = {'cameras': len({t.camera for t in everyone})}
    for part, tracklets in (('train', dataset.train), ('query', query), ('gallery', gallery)):
        counts[f'{part} ids'] = len(_ids(tracklets))
        counts[f'{part} tracklets'] = len(tracklets)
        counts[f'{part} frames'] = _frames(tracklets)
    parts = {'train': dataset.train, 'test': dataset.test}
    return Contents(dataset.root, parts, counts, {}, _folders(everyone, below=1), deep=False)
