"""The live form of a gallery: a folder that grows by whole shards, read without holding it in memory.

  gallery.json              dimension, dtype, and how the features were made (see `tracklets.MADE`)
  shard-00000000/           what one `append` brought; never changed again
    embedding.npy           [n, D] float32
    tracklets.jsonl         n lines: name, person, people (whose numbering), camera, time, frames, film (image files)

A shard is written under another name and renamed when it is on disk, so that readers at any time, and after a kill at
any time, see whole shards only.
"""

import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tqdm

from jaxreid.process import whole
from jaxreid.search import feature_rows
from jaxreid.search import tracklets as tracklets_lib

HEADER = 'gallery.json'
_FORMAT = 1
_EMBEDDING, _TRACKLETS = 'embedding.npy', 'tracklets.jsonl'
_ROWS = 16384  # copied at a time
_COLUMNS = 'name', 'person', 'camera', 'time', 'frames'
_EQUAL = 1e-3  # of their length that features of one tracklet differ by when they are extracted again


class Appended(NamedTuple):
    """What an `append` did."""

    added: int
    there: int  # the same tracklets, which the gallery held already
    total: int  # that it holds now


def is_gallery(folder: pathlib.Path) -> bool:
    """Whether a folder is a gallery."""
    return (folder / HEADER).is_file()


def open_folder(folder: pathlib.Path) -> tracklets_lib.Tracklets:
    """The gallery as it is now. Names, cameras and times are read; features stay on disk.

    Raises:
      ValueError: it is empty, damaged or of another version.
      OSError: it cannot be read.
    """
    header, shards = _header(folder), _shards(folder)
    if not shards:
        raise ValueError(f'the gallery {folder} is empty; add tracklets with python -m jaxreid.search add {folder} ...')
    lengths: list[int] = []
    columns: dict[str, list] = {key: [] for key in (*_COLUMNS, 'people')}
    for shard in shards:
        read = tqdm.tqdm(_lines(shard), desc=f'read {shard.name}', unit='tracklet', leave=False, delay=2)
        lines = list(read)
        lengths.append(_length(shard, header['dim'], len(lines)))
        for line in lines:
            for key, values in columns.items():
                values.append(sys.intern(line.get('people', '')) if key == 'people' else line[key])
    ends = np.cumsum(lengths)

    def film(row: int) -> list[str]:
        part = int(np.searchsorted(ends, row, side='right'))
        wanted = row - int(ends[part] - lengths[part])
        return next(line['film'] for number, line in enumerate(_lines(shards[part])) if number == wanted)

    paths = [shard / _EMBEDDING for shard in shards]
    return tracklets_lib.Tracklets(
        where=f'the gallery {folder}',
        features=feature_rows.Rows.files(paths, lengths, dim=header['dim']),
        made=header['made'],
        film=film,
        **columns,
    )


def check(folder: pathlib.Path, given: Sequence[tracklets_lib.Tracklets]) -> None:
    """Refuses what could not all be appended, as far as that shows before features are extracted.

    Raises:
      ValueError: as `append`; two of `given` differ in kind, or have a name in common.
    """
    _check_folder(folder)
    header = _header(folder) if is_gallery(folder) and _shards(folder) else None
    places: dict[str, str] = {}
    for one in given:
        _check_names(one)
        if header is not None:
            _check_kind(f'the gallery {folder}', header['dim'], header['made'], one)
            _there(folder, one)
        else:
            first = given[0]
            _check_kind(first.where, first.features.dim if first.features.at_hand else None, first.made, one)
        for name in one.name:
            if name in places:
                raise ValueError(
                    f'{places[name]} and {one.where} both have a tracklet {name!r}; a gallery may hold a name only once'
                )
        places |= dict.fromkeys(one.name, one.where)


def append(folder: pathlib.Path, added: tracklets_lib.Tracklets) -> Appended:
    """Adds tracklets as one shard, and makes the gallery where there is none; one process at a time.

    A tracklet that is there already with the same contents is left, so that what was stopped can be repeated. Images
    are not looked at again where none has changed since.

    Raises:
      ValueError: features of another kind than the gallery's, not finite or all zero, a name that it holds with other
        contents, or the folder holds something else. The gallery is as it was.
      OSError: it cannot be written.
    """
    _check_folder(folder)
    _check_names(added)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole.lock(folder / '.lock'):
            held, new = _made_or_checked(folder, added)
            if not len(new):
                return Appended(0, len(added), held)
            _check_values(added, new)
            if not is_gallery(folder) or not held:  # or whoever wrote the header was killed before the first shard
                header = {'format': _FORMAT, 'dim': added.features.dim, 'dtype': 'float32', 'made': added.made}
                whole.write_json(folder / HEADER, header)
            number = max((int(shard.name.removeprefix('shard-')) for shard in _shards(folder)), default=-1) + 1
            with whole.folder(folder / f'shard-{number:08d}') as partial:
                _write(partial, added, new)
            return Appended(len(new), len(added) - len(new), held + len(new))
    except OSError as e:
        raise OSError(f'cannot add to the gallery {folder}: {e}; it is as it was') from e


def _check_folder(folder):
    strange = folder.exists() and not (folder.is_dir() and not any(_others(folder)))
    if strange and not is_gallery(folder):  # asked last: another process may be making it one
        raise ValueError(f'{folder} exists and is no gallery (it has no {HEADER}); choose a folder of its own')


def _check_names(added):
    if not len(added):
        raise ValueError(f'{added.where} has no tracklets to add')
    if len(set(added.name)) < len(added):
        twice = next(name for number, name in enumerate(added.name) if name in added.name[:number])
        raise ValueError(
            f'{added.where} has two tracklets with the name {twice!r}; a gallery may hold a name only once'
        )


def _check_kind(where, dim, made, added):
    tracklets_lib.check_made(where, dim, made, added)
    if lacking := [text for key, text in tracklets_lib.MADE.items() if key in made and key not in added.made]:
        raise ValueError(
            f'{added.where} does not say how its features were made ({", ".join(lacking)}), but {where} does; features '
            'of another kind would be mixed in. Extract them with jaxreid.'
        )


def _check_values(added, rows):
    """Features are finite and point somewhere."""
    for start in range(0, len(rows), _ROWS):
        part = added.features.take(rows[start : start + _ROWS])
        for good, said in ((np.isfinite(part).all(axis=1), 'NaN or infinity'), (part.any(axis=1), 'zeros only')):
            if not good.all():
                raise ValueError(f'{added.where}: {added.name[rows[start + int(np.argmin(good))]]} holds {said}')


def _made_or_checked(folder, added):
    """How many tracklets there are, and the rows of `added` [n] that are none of them."""
    if not is_gallery(folder) or not _shards(folder):
        return 0, np.arange(len(added))
    header = _header(folder)
    where = f'the gallery {folder}'
    _check_kind(where, header['dim'], header['made'], added)
    held, there, doubtful = _there(folder, added)
    if len(there) < len(added) or doubtful:
        assert added.features.dim  # extracts, so that it is at hand
        tracklets_lib.check_made(where, header['dim'], header['made'], added)
    for row, shard, number in doubtful:
        ours = np.load(shard / _EMBEDDING, mmap_mode='r')[number]
        theirs = added.features.read(row, row + 1)[0]
        if not np.linalg.norm(theirs - ours) <= _EQUAL * np.linalg.norm(ours):
            raise _differs(added, row, folder, 'features')
    return held, np.setdiff1d(np.arange(len(added)), there)


def _there(folder, added):
    """How many tracklets there are, rows of `added` that are among them, and (row, shard, its row) to look at again.

    Raises:
      ValueError: one of the name is another tracklet.
    """
    rows = {name: row for row, name in enumerate(added.name)}
    held, there, doubtful = 0, [], []
    for shard in _shards(folder):
        written = (shard / _TRACKLETS).stat().st_mtime
        for number, line in enumerate(_lines(shard)):
            held += 1
            row = rows.get(line['name'])
            if row is None:
                continue
            for key in _COLUMNS:
                if line[key] != getattr(added, key)[row]:
                    raise _differs(added, row, folder, f'{key} {line[key]!r} there, {getattr(added, key)[row]!r} here')
            there.append(row)
            if added.features.at_hand or not _unchanged(line['film'], added.film(row), written):
                doubtful.append((row, shard, number))
    return held, there, doubtful


def _unchanged(before, now, written):
    """Whether these are the images that features were extracted from at some time."""
    try:
        return before == now != [] and all(os.stat(path).st_ctime < written for path in now)
    except OSError:
        return False


def _differs(added, row, folder, what):
    return ValueError(
        f'{added.name[row]!r} of {added.where} is in the gallery {folder} already, with other contents ({what}); '
        'nothing of it is added. Give it another name, or remove the shard that holds the old one.'
    )


def _write(shard, added, rows):
    shape = len(rows), added.features.dim
    out = np.lib.format.open_memmap(shard / _EMBEDDING, mode='w+', dtype=np.float32, shape=shape)
    for start in tqdm.trange(0, len(rows), _ROWS, desc='write', leave=False, disable=len(rows) < 4 * _ROWS):
        out[start : start + _ROWS] = added.features.take(rows[start : start + _ROWS])
    out.flush()
    with (shard / _TRACKLETS).open('w', encoding='utf-8') as file:
        for row in rows.tolist():
            line = {key: getattr(added, key)[row] for key in _COLUMNS}
            line['people'] = added.people[row] if added.people else ''
            file.write(json.dumps(line | {'film': added.film(row)}) + '\n')
    for path in (shard / _EMBEDDING, shard / _TRACKLETS, shard):  # all is on disk before the name says so
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _shards(folder):
    return sorted(path for path in folder.glob('shard-*') if path.name.removeprefix('shard-').isdigit())


def _header(folder):
    try:
        header = json.loads((folder / HEADER).read_text(encoding='utf-8'))
        if header['format'] != _FORMAT:
            raise ValueError(f'its format is {header["format"]}, this version of jaxreid reads {_FORMAT}')
        if not (isinstance(header['dim'], int) and isinstance(header['made'], dict)):
            raise ValueError('dim or made is not what it should be')
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f'{folder / HEADER} cannot be used ({e}); make the gallery again') from e
    return header


def _lines(shard) -> Iterator[dict]:
    try:
        with (shard / _TRACKLETS).open(encoding='utf-8') as file:
            for text in file:
                yield json.loads(text)
    except (ValueError, OSError) as e:
        raise ValueError(f'{shard} is damaged ({e}); remove that folder and add its tracklets again') from e


def _length(shard, dim, lines):
    try:
        shape = np.load(shard / _EMBEDDING, mmap_mode='r').shape
    except (ValueError, OSError, EOFError) as e:
        said = 'is missing' if isinstance(e, FileNotFoundError) else 'is cut short or no .npy file'
        raise ValueError(
            f'{shard} is damaged ({_EMBEDDING} {said}); remove that folder and add its tracklets again'
        ) from e
    if shape != (lines, dim):
        raise ValueError(f'{shard} is damaged: features {list(shape)}, expected {[lines, dim]}; remove that folder')
    return lines


def _others(folder):
    """What a folder that is to become a gallery must not hold."""
    return (path for path in folder.iterdir() if path.name != '.lock' and not path.name.startswith(f'.{HEADER}'))
