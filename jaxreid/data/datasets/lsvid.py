"""Reader of LS-VID (Li et al., ICCV 2019) as handed out: sequence lists, MATLAB 7.3 tables and folders of crops.

    root/
      list_sequence/list_seq_train.txt list_seq_val.txt list_seq_test.txt   or below info/
      test/data/info_test.mat info_val.mat                                  or info/data/
      tracklet_train/ tracklet_val/ tracklet_test/

A line of a list is '<path of a sequence> <id>'; the sequence's frames are the files <path>_*. Their names have four
fields between underscores, the third is the camera, 1 to 15. `query` in the tables counts lines of the list from 1;
queries stay in the gallery.
"""

import bisect
import itertools
import os
import re
from typing import NamedTuple

import numpy as np

from jaxreid.data.datasets import contents, facts, listing, matlab
from jaxreid.data.tracklets import tracklet

LAYOUT = (
    'An LS-VID folder holds list_sequence/ (or info/list_sequence/) with list_seq_train.txt and list_seq_test.txt, '
    'test/data/info_test.mat (or info/data/info_test.mat), and the image folders that the lists name, such as '
    'tracklet_train/. For the validation part also list_seq_val.txt and info_val.mat.'
)
_NUM_CAMERAS = 15
_NAME = re.compile(r'[^_]+_[^_]+_(\d{1,2})_[^_0-9]*(\d+)\.(?:jpg|png)', re.ASCII)
_EXAMPLE = '0001_01_15_000123.jpg'
_AFTER_UNDERSCORE = chr(ord('_') + 1)


class _Line(NamedTuple):
    path: str  # of the sequence: folder and start of the file names
    pid: int


def read(root: str | os.PathLike, *, part: str = 'test') -> tracklet.Dataset:
    """Reads and checks the data set in folder `root`; opens no image, lists each folder once.

    Args:
      root: the folder.
      part: 'test', or 'val': the 200 validation ids of the data set take the place of the test ids.

    Raises:
      FileNotFoundError: a folder, a list or a table is missing.
      ValueError: a list or table is malformed, they do not belong together, or a sequence has no frames.
    """
    if part not in ('test', 'val'):
        raise ValueError(f"part is {part!r}; expected 'test' or 'val'.")
    root = listing.open_root(root, what='LS-VID', layout=LAYOUT)
    train_list, test_list = (_find(root, 'list_sequence', f'list_seq_{name}.txt') for name in ('train', part))
    table = _find(root, 'data', f'info_{part}.mat')
    train, test = _lines(train_list), _lines(test_list)
    both = {line.path for line in train} & {line.path for line in test}
    if both:
        raise ValueError(
            f'{len(both)} sequences are in {train_list} and in {test_list}, such as {min(both)}; as published, none '
            'is in both. Take them from the download.'
        )
    folders: dict[str, list[str]] = {}
    return tracklet.Dataset(
        root=root,
        train=_tracklets(root, [line for line in train if line.pid != tracklet.JUNK_ID], train_list, folders),
        test=_tracklets(root, test, test_list, folders),
        query=_query(table, f'info_{part}', test_list, len(test)),
        gallery=np.ones(len(test), bool),
    )


def _find(root: str, folder: str, name: str) -> str:
    first = f'{"test/" if folder == "data" else ""}{folder}/{name}'
    return os.path.join(root, *listing.need_file(root, (first, f'info/{folder}/{name}'), layout=LAYOUT).split('/'))


def _lines(path: str) -> list[_Line]:
    lines = []
    with open(path, encoding='utf-8', errors='replace') as file:  # text mode turns CRLF into \n
        for number, text in enumerate(file, start=1):
            fields = text.split()
            if not fields:
                continue
            if len(fields) != 2 or re.fullmatch(r'-?\d+', fields[1], re.ASCII) is None:
                raise ValueError(
                    f'{path} line {number} is {text.strip()!r}; expected the path of a sequence and an id, such as '
                    '"tracklet_train/0001/0001_01_15 1". Take the list from the download.'
                )
            parts = fields[0].replace('\\', '/').split('/')
            if '..' in parts or parts[0] == '' or parts[-1] == '' or '\0' in fields[0]:
                raise ValueError(
                    f'{path} line {number} names {fields[0]!r}; expected a path inside the data set folder, such as '
                    'tracklet_train/0001/0001_01_15.'
                )
            lines.append(_Line('/'.join(part for part in parts if part != '.'), int(fields[1])))
    if not lines:
        raise ValueError(f'{path} names no sequence; take the list from the download.')
    return lines


def _tracklets(
    root: str, lines: list[_Line], source: str, folders: dict[str, list[str]]
) -> tuple[tracklet.Tracklet, ...]:
    """A tracklet per line; `folders` keeps listings between calls."""
    tracklets = []
    spans: list[tuple[str, int, int, str]] = []  # of each line in the sorted names of its folder
    for path, pid in lines:
        where, _, start = path.rpartition('/')
        start = start.rstrip('_') + '_'  # 0001_01_1 must not catch 0001_01_15_000123.jpg
        if where not in folders:
            folders[where] = listing.files(os.path.join(root, where))
        names = folders[where]
        first = bisect.bisect_left(names, start)
        last = bisect.bisect_left(names, start[:-1] + _AFTER_UNDERSCORE)
        images = [name for name in names[first:last] if name.endswith(('.jpg', '.png'))]
        place = os.path.join(root, where, start + '*')
        if not images:
            raise ValueError(
                f'{source} names {path}, but there is no image {place} ({len(names)} files in the folder). Unpack the '
                'archive again, or take the line out of the list (and mind that the table of queries counts lines).'
            )
        matches = listing.frames(images, _NAME, where=place, example=_EXAMPLE[:-4] + os.path.splitext(images[0])[1])
        cameras = {int(match.group(1)) for match in matches}
        if len(cameras) > 1 or not cameras <= set(range(1, _NUM_CAMERAS + 1)):
            raise ValueError(
                f'{place} has cameras {sorted(cameras)} in the third field of its names; expected one of 1 to '
                f'{_NUM_CAMERAS}.'
            )
        frames = tuple([f'{where}/{name}' for name in listing.in_order(matches, group=2, where=place)])
        spans.append((where, first, last, path))
        tracklets.append(tracklet.Tracklet(name=path, pid=pid, camera=cameras.pop(), frames=frames))
    for (where, _, last, path), (other, first, _, following) in itertools.pairwise(sorted(spans)):
        if where == other and first < last:
            raise ValueError(f'{source} names {path} and {following}, which share frames; take it from the download.')
    return tuple(tracklets)


def _query(path: str, info: str, test_list: str, count: int) -> np.ndarray:
    """[count] bool."""
    variables = matlab.read_all(path, ('query', info))
    if 'query' not in variables:
        raise ValueError(f'{path} has no variable query; it is not the file of the LS-VID download.')
    if info in variables and variables[info].shape[:1] != (count,):
        raise ValueError(
            f'{info} of {path} has shape {variables[info].shape}, but {test_list} names {count} sequences; expected '
            f'[{count}, 4]. Take both files from one download.'
        )
    rows = matlab.integers(variables['query'], f'query of {path}')
    if rows.size != max(rows.shape, default=0) or not rows.size:
        raise ValueError(f'query of {path} has shape {rows.shape}; expected one row or column of line numbers.')
    return matlab.marks(rows, count, what=f'query of {path}', row='line', table=test_list)


def _count(data: facts.Settings) -> contents.Contents:
    dataset = read(data.root)
    try:
        val: tuple[tracklet.Tracklet, ...] = read(data.root, part='val').test
    except FileNotFoundError:  # not every copy has it; its counts tell
        val = ()
    parts = {'train': dataset.train, 'val': val, 'test': dataset.test}
    everyone = (*dataset.train, *val, *dataset.test)
    people = {part: contents.ids(tracklets) - {tracklet.JUNK_ID} for part, tracklets in parts.items()}
    counts: dict[str, contents.Count] = {
        'cameras': len({t.camera for t in everyone}),
        'ids': sum(map(len, people.values())),
        'tracklets': len(everyone),
        'frames': contents.frames(everyone),
    }
    for part, tracklets in parts.items():
        counts[f'{part} ids'] = len(people[part])
        counts[f'{part} frames'] = contents.frames(tracklets)
    folders = tuple(sorted({t.frames[0].split('/')[0] for t in everyone}))
    return contents.Contents(dataset.root, parts, counts, folders)


FACTS = facts.Facts(
    name='lsvid',
    about='LS-VID (Li et al., ICCV 2019).',
    layout=LAYOUT,
    read=lambda data: read(data.root, part='val' if data.part == 'validation' else 'test'),
    protocol='lsvid',
    num_ids=842,
    # Li et al., ICCV 2019, table 1 and section 3.
    published={
        'cameras': 15,
        'ids': 3772,
        'tracklets': 14943,
        'frames': 2982685,
        'train ids': 842,
        'train frames': 550419,
        'val ids': 200,
        'val frames': 155191,
        'test ids': 2730,
        'test frames': 2277075,
    },
    whole=_count,
    own_validation=True,
)
