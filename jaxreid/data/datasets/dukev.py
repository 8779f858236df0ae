"""Reader of DukeMTMC-VideoReID (Wu et al., CVPR 2018) as it was downloaded.

    root/
      train/0001/0001/0001_C2_F0001_X30823.jpg ...   <id>/<tracklet>/ and id, camera, frame, X or D, video frame
      query/  gallery/                               likewise; the gallery holds every query again

The authors of DukeMTMC withdrew the data for reasons of privacy: nothing here downloads it. Older copies have names
without underscores, 0001C2F0001X30823.jpg; both are read. Some tracklets start at F0002.
"""

import collections
import os
import re
from collections.abc import Mapping, Sequence

from jaxreid.data.datasets import contents, facts, listing
from jaxreid.data.tracklets import tracklet

LAYOUT = (
    'A DukeMTMC-VideoReID folder holds train/<id>/<tracklet>/*.jpg, query/<id>/<tracklet>/*.jpg and '
    'gallery/<id>/<tracklet>/*.jpg.'
)
_WHAT = 'DukeMTMC-VideoReID'
_SPLITS = ('train', 'query', 'gallery')
_FOLDER = re.compile(r'\d{4}', re.ASCII)
_NAME = re.compile(r'(\d{4})_?C([1-8])_?F(\d{4})_?[XD]\d+\.jpg', re.ASCII)
_EXAMPLE = '0001_C6_F0099_X30823.jpg'


def read(root: str | os.PathLike) -> tracklet.Dataset:
    """Reads and checks the data set in folder `root`; opens no image, lists each tracklet's folder once.

    Returns:
      Dataset whose test tracklets are the queries, then the gallery with its own copies of them.

    Raises:
      FileNotFoundError: a folder is missing.
      ValueError: a folder or frame has a wrong name, or a tracklet is empty.
    """
    root = listing.open_root(root, what=_WHAT, layout=LAYOUT)
    prefix = listing.below(root, _WHAT, holds=_SPLITS, what=_WHAT, layout=LAYOUT)
    names: dict[str, list[str]] = {}
    for split in _SPLITS:
        folder = os.path.join(root, prefix, split)
        for pid in listing.folders(folder, _FOLDER, example='0001'):
            for number in listing.folders(os.path.join(folder, pid), _FOLDER, example='0001'):
                names[f'{prefix}{split}/{pid}/{number}'] = listing.files(os.path.join(folder, pid, number))
    return index(names, root=root)


def index(names: Mapping[str, Sequence[str]], *, root: str = '') -> tracklet.Dataset:
    """Builds the data set from names alone; touches no file.

    Args:
      names: {'<split>/<id>/<tracklet>': file names in that folder}, in any order; a folder may precede the split.
      root: kept as `Dataset.root`.

    Raises:
      ValueError: as `read`.
    """
    tracklets: dict[str, list[tracklet.Tracklet]] = {split: [] for split in _SPLITS}
    for where in sorted(names):
        tracklets[where.split('/')[-3]].append(_tracklet(where, names[where], root))
    train, query, gallery = (tuple(tracklets[split]) for split in _SPLITS)
    both = contents.ids(train) & contents.ids((*query, *gallery))
    if both:
        raise ValueError(
            f'{len(both)} ids of {root} are in train and in query or gallery, such as {min(both):04d}; as published, '
            'no id is in both. Unpack the archive again.'
        )
    return tracklet.queries_first(root, train, query, gallery)


def _tracklet(where: str, names: Sequence[str], root: str) -> tracklet.Tracklet:
    split, pid, number = where.split('/')[-3:]
    folder = os.path.join(root, where)
    matches = listing.frames(names, _NAME, where=folder, example=_EXAMPLE)
    seen = sorted({(match.group(1), match.group(2)) for match in matches})
    if len(seen) > 1 or seen[0][0] != pid:
        raise ValueError(
            f'{folder} holds frames of id and camera {seen[:4]}; expected id {pid} in one camera. Unpack the archive '
            'again.'
        )
    return tracklet.Tracklet(
        name=f'{split}/{pid}/{number}',
        pid=int(pid),
        camera=int(seen[0][1]),
        frames=tuple([f'{where}/{name}' for name in listing.in_order(matches, group=3, where=folder)]),
    )


def _count(data: facts.Settings) -> contents.Contents:
    dataset = read(data.root)
    train = dataset.train
    query, gallery = contents.marked(dataset.test, dataset.query), contents.marked(dataset.test, dataset.gallery)
    cameras = collections.Counter(pid for pid, _ in {(one.pid, one.camera) for one in gallery})
    held = {one.name.removeprefix('gallery/') for one in gallery}
    counts = contents.tally('train', train, cameras=8) | contents.tally('query', query, 'queries', cameras=8)
    counts |= {'gallery ids': 0, 'gallery ids of one camera': sum(seen == 1 for seen in cameras.values())}
    counts |= contents.tally('gallery', gallery, cameras=8)
    counts['queries in the gallery as well'] = sum(one.name.removeprefix('query/') in held for one in query)
    parts = {'train': train, 'query': query, 'gallery': gallery}
    folders = contents.folders((*train, *query, *gallery), below=3)
    return contents.Contents(dataset.root, parts, counts, folders, numbered=contents.AFTER_F, copies=True)


FACTS = facts.Facts(
    name='dukev',
    about='DukeMTMC-VideoReID (Wu et al., CVPR 2018), which its authors withdrew.',
    layout=LAYOUT,
    read=lambda data: read(data.root),
    protocol='dukev',
    num_ids=702,
    # The README of the repository Yu-Wu/DukeMTMC-VideoReID; frames and cameras of the test part counted from
    # Duke_test/data of kanei1024/GLTR, cameras of the training part from duke_attributes.csv of aichemistry's
    # pedestrian attributes.
    published={
        'train ids': 702,
        'train tracklets': 2196,
        'train tracklets per camera': (404, 378, 201, 165, 218, 348, 217, 265),
        'train frames': 369656,
        'query ids': 702,
        'queries': 702,
        'queries per camera': (135, 117, 49, 41, 61, 110, 81, 108),
        'query frames': 111848,
        'gallery ids': 1110,
        'gallery ids of one camera': 408,
        'gallery tracklets': 2636,
        'gallery tracklets per camera': (432, 411, 191, 157, 216, 378, 239, 612),
        'gallery frames': 445764,
        'queries in the gallery as well': 702,
    },
    whole=_count,
)
