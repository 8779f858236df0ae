"""Reader of MARS (Zheng et al., ECCV 2016) as downloaded: name lists, tables and folders of JPEG crops.

    root/
      bbox_train/0001/0001C1T0001F001.jpg ...   (also bbox_train/bbox_train/..., as some copies have it)
      bbox_test/00-1/ 0000/ 0002/ ...           (00-1: junk, id -1; 0000: distractors, id 0)
      info/train_name.txt test_name.txt         one frame name per line
      info/tracks_train_info.mat tracks_test_info.mat query_IDX.mat
      info/attributes.csv                       if there is one: see `attributes`

A row of a table is: first frame, last frame (rows of the sorted name list, counted from 1, both included), person id,
camera. `query_IDX` counts rows of the test table from 1. Names are <id:4>C<camera>T<tracklet:4>F<frame:3>.jpg.
"""

import itertools
import os
import re
from collections.abc import Sequence

import numpy as np

from jaxreid.data.datasets import attributes, contents, facts, listing, matlab
from jaxreid.data.tracklets import tracklet

_NAME = re.compile(r'(\d{4}|00-1)C([1-6])T\d{4}F\d{3}\.jpg', re.ASCII)
_PREFIX_CHARS = len('0001C1T0001')
_INFO_FILES = ('train_name.txt', 'test_name.txt', 'tracks_train_info.mat', 'tracks_test_info.mat', 'query_IDX.mat')
LAYOUT = (
    'A MARS folder holds bbox_train/<id>/*.jpg, bbox_test/<id>/*.jpg and info/ with ' + ', '.join(_INFO_FILES) + '.'
)
_NAMES_SHOWN = 3  # of many offending names, how many a message lists


def read(root: str | os.PathLike) -> tracklet.Dataset:
    """Reads and checks the MARS dataset in folder `root`; opens no image, lists each id's folder once.

    Raises:
      FileNotFoundError: the folder, an info file or listed frames are missing.
      ValueError: a list or table is malformed or they do not belong together.
    """
    dataset = read_lists(root)
    for tracklets in (dataset.train, dataset.test):
        check_frames_exist(dataset.root, tracklets)
    return dataset


def read_lists(root: str | os.PathLike) -> tracklet.Dataset:
    """As `read`, but believes the name lists: the frames may be missing."""
    root = listing.open_root(root, what='MARS', layout=LAYOUT)
    folders = {name: _folder(root, name) for name in ('info', 'bbox_train', 'bbox_test')}
    info = os.path.join(root, folders['info'])
    missing = [name for name in _INFO_FILES if not os.path.isfile(os.path.join(info, name))]
    if missing:
        raise FileNotFoundError(
            f'{", ".join(missing)} missing: looked in {info}. {LAYOUT} The five info files come with the MARS '
            'evaluation code and the download of the dataset.'
        )
    parts = (
        name_list(os.path.join(info, 'train_name.txt')),
        name_list(os.path.join(info, 'test_name.txt')),
        matlab.read(os.path.join(info, 'tracks_train_info.mat'), 'track_train_info'),
        matlab.read(os.path.join(info, 'tracks_test_info.mat'), 'track_test_info'),
        matlab.read(os.path.join(info, 'query_IDX.mat'), 'query_IDX'),
    )
    try:
        dataset = index(*parts, root=root, train_folder=folders['bbox_train'], test_folder=folders['bbox_test'])
        return attributes.attach(dataset, info)
    except ValueError as error:
        raise ValueError(f'{info}: {error}') from error


def index(
    train_names: Sequence[str],
    test_names: Sequence[str],
    track_train_info: np.ndarray,
    track_test_info: np.ndarray,
    query_idx: np.ndarray,
    *,
    root: str = '',
    train_folder: str = 'bbox_train',
    test_folder: str = 'bbox_test',
) -> tracklet.Dataset:
    """Builds the dataset from name lists, in any order and without folders, and tables (see the module) alone; touches
    no file.

    The gallery is the whole test split: queries, junk (id -1) and distractors (id 0) stay in, the protocol decides what
    is ranked. `train_folder` and `test_folder` stand before <id>/<name> in a frame's path.

    Raises:
      ValueError: names or tables are malformed or do not belong together.
    """
    train = _tracklets(train_names, track_train_info, 'track_train_info', train_folder)
    test = _tracklets(test_names, track_test_info, 'track_test_info', test_folder)
    query = matlab.marks(query_idx, len(test), what='query_IDX', row='row', table='the test table')
    return tracklet.Dataset(root=root, train=train, test=test, query=query, gallery=np.ones(len(test), bool))


def _tracklets(names: Sequence[str], table: np.ndarray, what: str, folder: str) -> tuple[tracklet.Tracklet, ...]:
    names = sorted(names)  # '00-1' sorts before '0000', as in the tables
    malformed = [name for name in names if _NAME.fullmatch(name) is None]
    if malformed:
        raise ValueError(
            f'{len(malformed)} malformed frame names in the list that belongs to {what}, such as '
            f'{malformed[:_NAMES_SHOWN]}; expected names such as 0001C1T0001F001.jpg or 00-1C1T0001F001.jpg.'
        )
    repeated = next((name for name, following in itertools.pairwise(names) if name == following), None)
    if repeated:
        raise ValueError(f'The list that belongs to {what} holds {repeated} more than once.')
    table = matlab.integers(table, what)
    if table.ndim != 2 or table.shape[1] != 4:
        raise ValueError(f'{what} has shape {table.shape}; expected [N, 4]: first frame, last frame, id, camera.')
    tracklets = []
    end = 0
    for row, (first, last, pid, camera) in enumerate(table.tolist(), start=1):
        if first != end + 1 or not first <= last <= len(names):
            raise ValueError(
                f'{what} row {row} covers frames {first} to {last}; expected to start at {end + 1}, where the row '
                f'before it ends, and to stay within the {len(names)} names of the list.'
            )
        prefix = names[first - 1][:_PREFIX_CHARS]
        # Names are sorted: where the ends agree, all between them do.
        if names[last - 1][:_PREFIX_CHARS] != prefix or _pid_and_camera(prefix) != (pid, camera):
            raise ValueError(
                f'{what} row {row} is id {pid}, camera {camera}, frames {first} to {last}, but the list has '
                f'{names[first - 1]} to {names[last - 1]} there: list and table are not of one dataset.'
            )
        where = f'{folder}/{prefix[:4]}/'
        frames = tuple([where + name for name in names[first - 1 : last]])
        tracklets.append(tracklet.Tracklet(name=prefix, pid=pid, camera=camera, frames=frames))
        end = last
    if end != len(names):
        raise ValueError(f'{what} ends at frame {end}, but the list has {len(names)} names.')
    if len({one.name for one in tracklets}) != len(tracklets):
        raise ValueError(f'{what} cuts one tracklet into several rows; expected one row per tracklet of the list.')
    return tuple(tracklets)


def _pid_and_camera(prefix: str) -> tuple[int, int]:
    return tracklet.JUNK_ID if prefix.startswith('00-1') else int(prefix[:4]), int(prefix[5])


def _folder(root: str, name: str) -> str:
    """Folder `name` relative to `root`; archives unpacked into a folder of their own name are doubled."""
    return f'{name}/{name}' if os.path.isdir(os.path.join(root, name, name)) else name


def name_list(path: str) -> list[str]:
    """The lines of a file that hold something."""
    with open(path, encoding='utf-8', errors='replace') as file:  # text mode turns CRLF into \n
        names = [line.strip() for line in file]
    return [name for name in names if name]


def check_frames_exist(root: str, tracklets: Sequence[tracklet.Tracklet]) -> None:
    """Every listed frame is a name in its folder. One listing per id: a million single look-ups take minutes."""
    missing: list[str] = []
    id_folder, present = '', set[str]()
    for one in tracklets:  # sorted, so each folder's turn comes once
        here, _, _ = one.frames[0].rpartition('/')
        if here != id_folder:
            id_folder, present = here, set(listing.files(os.path.join(root, here)))
        missing += [frame for frame in one.frames if frame.rpartition('/')[2] not in present]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of {sum(len(t.frames) for t in tracklets)} frames that the name list of '
            f'{os.path.join(root, os.path.dirname(id_folder))} promises are absent, first '
            f'{", ".join(missing[:_NAMES_SHOWN])}. Unpack the archive again, or take the frames out '
            'of the name list and the tables.'
        )


def count(dataset: tracklet.Dataset) -> contents.Contents:
    """What is in a folder of this layout, from `read_lists`."""
    parts = {'train': dataset.train, 'test': dataset.test}
    folders = contents.folders((*dataset.train, *dataset.test), below=2)
    return contents.Contents(dataset.root, parts, counts(dataset), folders, counted_from=1, numbered=contents.AFTER_F)


def counts(dataset: tracklet.Dataset) -> dict[str, contents.Count]:
    """The numbers that are published of MARS, of these tracklets."""
    train, test, query = dataset.train, dataset.test, contents.marked(dataset.test, dataset.query)
    junk = [t for t in test if t.pid == tracklet.JUNK_ID]
    distractors = [t for t in test if t.pid == tracklet.DISTRACTOR_ID]
    people = contents.ids(test) - {tracklet.JUNK_ID, tracklet.DISTRACTOR_ID}
    counts = contents.tally('train', train, cameras=6) | contents.tally('test', test, cameras=6)
    counts |= {
        'test ids': len(people),
        'junk tracklets': len(junk),
        'junk frames': contents.frames(junk),
        'distractor tracklets': len(distractors),
        'distractor frames': contents.frames(distractors),
    }
    counts |= contents.tally('query', query, 'queries', cameras=6)
    return counts | {'ids in train and test': len(contents.ids(train) & people)}


FACTS = facts.Facts(
    name='mars',
    about='MARS (Zheng et al., ECCV 2016).',
    layout=LAYOUT,
    read=lambda data: read(data.root),
    num_ids=625,
    # Counted from the tables in info/ of the repository liangzheng06/MARS-evaluation, which are part of the data set.
    published={
        'train ids': 625,
        'train tracklets': 8298,
        'train tracklets per camera': (1816, 1957, 1321, 750, 1880, 574),
        'train frames': 509914,
        'test ids': 634,  # without junk and distractors
        'test tracklets': 12180,
        'test tracklets per camera': (2271, 3725, 1495, 1024, 2240, 1425),
        'test frames': 681089,
        'junk tracklets': 870,
        'junk frames': 23380,
        'distractor tracklets': 3248,
        'distractor frames': 147743,
        'query ids': 626,
        'queries': 1980,
        'queries per camera': (524, 456, 319, 191, 384, 106),
        'query frames': 114493,
        'ids in train and test': 0,
    },
    whole=lambda data: count(read_lists(data.root)),
    # AP3D's epoch of 8 x 4 has 1883 // 8 = 235 steps.
    groups=lambda data, tracklets: 1883 if tracklets == 4 else None,
)
