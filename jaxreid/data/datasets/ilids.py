"""Reader of iLIDS-VID (Wang et al., ECCV 2014) as downloaded: 300 people, two cameras, ten splits.

    root/
      i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png ...   and cam2; images/ beside it is not used
      train-test people splits/train_test_splits_ilidsvid.mat            ls_set [10, 300]

A row of `ls_set` is a split: it counts, from 1, the SORTED folders of persons (whose numbers have gaps), 150 of one
half and then 150 of the other. Query is camera 1, gallery camera 2.
"""

import os
import re

import numpy as np

from jaxreid.data.datasets import contents, facts, listing, matlab
from jaxreid.data.tracklets import tracklet

_SPLITS = 'train-test people splits/train_test_splits_ilidsvid.mat'
LAYOUT = (
    'An iLIDS-VID folder holds i-LIDS-VID/sequences/cam1/person<number>/*.png, the same below cam2, and '
    f'"{_SPLITS}" (the folder name has spaces).'
)
_WHAT = 'iLIDS-VID'
_FOLDER = re.compile(r'person\d{3}', re.ASCII)
_NAME = re.compile(r'cam([12])_(person\d{3})_(\d{5})\.png', re.ASCII)


def read(root: str | os.PathLike, *, split: int = 0, test_half: str = 'first') -> tracklet.Dataset:
    """Reads and checks the data set in folder `root`; opens no image.

    Args:
      root: the folder.
      split: 0 to 9, row of `ls_set`.
      test_half: 'first' (Wang et al., torchreid, AP3D) or 'second' (dapengchen123/video_reid, TF-CLIP) half of the row.

    Returns:
      Dataset: half of the persons in both cameras to train on; of the others camera 1 as query, camera 2 as gallery.

    Raises:
      FileNotFoundError: a folder or the split file is missing.
      ValueError: wrong names, an empty tracklet, a person seen by one camera, or a split file of something else.
    """
    if test_half not in ('first', 'second'):
        raise ValueError(f"test_half is {test_half!r}; expected 'first' or 'second'.")
    root = listing.open_root(root, what=_WHAT, layout=LAYOUT)
    below = listing.below(root, 'i-LIDS-VID', holds=('sequences/cam1', 'sequences/cam2'), what=_WHAT, layout=LAYOUT)
    path = os.path.join(root, *listing.need_file(root, (_SPLITS, os.path.basename(_SPLITS)), layout=LAYOUT).split('/'))
    folders = {
        camera: listing.folders(os.path.join(root, below, 'sequences', f'cam{camera}'), _FOLDER, example='person001')
        for camera in (1, 2)
    }
    one_camera = sorted(set(folders[1]) ^ set(folders[2]))
    if one_camera:
        raise ValueError(
            f'{len(one_camera)} persons of {root} are in one of cam1 and cam2 only, such as {one_camera[0]}; every '
            'person has a folder in both. Unpack the archive again.'
        )
    people = folders[1]
    test = _test_people(matlab.read(path, 'ls_set'), len(people), split=split, test_half=test_half, path=path)
    tracklets = {
        camera: [_tracklet(root, f'{below}sequences/cam{camera}/{person}', person, camera) for person in people]
        for camera in (1, 2)
    }
    train = [tracklets[camera][row] for row in range(len(people)) if row not in test for camera in (1, 2)]
    query = [tracklets[1][row] for row in sorted(test)]
    gallery = [tracklets[2][row] for row in sorted(test)]
    return tracklet.queries_first(root, train, query, gallery)


def _test_people(ls_set: np.ndarray, people: int, *, split: int, test_half: str, path: str) -> set[int]:
    """Rows, from 0, of the sorted persons to test on."""
    ls_set = matlab.integers(ls_set, f'ls_set of {path}')
    if ls_set.ndim != 2 or ls_set.shape[1] != people or people % 2:
        raise ValueError(
            f'ls_set of {path} has shape {ls_set.shape} and {people} persons have folders; expected [splits, persons] '
            'with an even number of persons. The published file is [10, 300]: take it from the download.'
        )
    if not 0 <= split < len(ls_set):
        raise ValueError(f'{path} has splits 0 to {len(ls_set) - 1}; split {split} was asked for.')
    row = ls_set[split]
    if not np.array_equal(np.sort(row), np.arange(1, people + 1)):
        raise ValueError(
            f'Row {split} of ls_set in {path} does not name each of the persons 1 to {people} once; take the file from '
            'the download.'
        )
    half = people // 2
    return set((row[:half] - 1 if test_half == 'first' else row[half:] - 1).tolist())


def _tracklet(root: str, where: str, person: str, camera: int) -> tracklet.Tracklet:
    folder = os.path.join(root, where)
    example = f'cam{camera}_{person}_00001.png'
    matches = listing.frames(listing.files(folder), _NAME, where=folder, example=example)
    stray = next((m.string for m in matches if (m.group(1), m.group(2)) != (str(camera), person)), None)
    if stray:
        raise ValueError(f'{folder} holds {stray}; expected names such as {example}. Unpack the archive again.')
    return tracklet.Tracklet(
        name=f'cam{camera}/{person}',
        pid=int(person.removeprefix('person')),
        camera=camera,
        frames=tuple([f'{where}/{name}' for name in listing.in_order(matches, group=3, where=folder)]),
    )


def _count(data: facts.Settings) -> contents.Contents:
    splits = [read(data.root, split=split) for split in range(FACTS.num_splits)]  # checks each row of the file
    first = splits[0]
    everyone = sorted((*first.train, *first.test), key=lambda t: t.name)
    lengths = [[len(t.frames) for t in everyone if t.camera == camera] for camera in (1, 2)]
    counts: dict[str, contents.Count] = {
        'persons': len(contents.ids(everyone)),
        'highest number of a person': max(contents.ids(everyone)),
        'tracklets': len(everyone),
        'splits': len({tuple([t.name for t in split.test]) for split in splits}),
        'train ids of a split': len(contents.ids(first.train)),
        'queries of a split': int(first.query.sum()),
        'fewest frames of a tracklet per camera': tuple(map(min, lengths)),
        'most frames of a tracklet per camera': tuple(map(max, lengths)),
        'mean frames of a tracklet, camera 1': round(float(np.mean(lengths[0])), 2),
        'mean frames of a tracklet, camera 2': round(float(np.mean(lengths[1])), 2),
    }
    return contents.Contents(first.root, {'all': everyone}, counts, contents.folders(everyone, below=3))


FACTS = facts.Facts(
    name='ilids',
    about='iLIDS-VID (Wang et al., ECCV 2014).',
    layout=LAYOUT,
    read=lambda data: read(data.root, split=int(data.split), test_half=data.split_rule or 'first'),
    protocol='ilids',
    num_ids=150,
    # Wang et al., ECCV 2014, and the data set's page.
    published={
        'persons': 300,
        'highest number of a person': 319,
        'tracklets': 600,
        'splits': 10,
        'train ids of a split': 150,
        'queries of a split': 150,
        'fewest frames of a tracklet per camera': (22, 23),
        'most frames of a tracklet per camera': (192, 172),
        'mean frames of a tracklet, camera 1': 65.67,
        'mean frames of a tracklet, camera 2': 75.86,
    },
    whole=_count,
    groups=lambda data, tracklets: data.num_ids if tracklets >= 2 else None,  # two an identity
    num_splits=10,
    split_rules=('first', 'second'),  # half of the persons to test on; most works take the first
    split_rules_setting='ilids_test_half',
)
