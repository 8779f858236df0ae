"""The live form of a gallery: a folder that grows by whole shards, read without holding it in memory.

  gallery.json              dimension, dtype, and how the features were made (see `tracklets.MADE`)
  shard-00000000/           what one `append` brought; never changed again
    embedding.npy           [n, D] float32
    tracklets.jsonl         n lines: name, person, people (whose numbering), camera, time, frames, film (image files)
    rows.npy                [n] `_ROW`: finds a tracklet by its name, and says what was written; older shards lack it

A shard is written under another name and renamed when it is on disk, so that readers at any time, and after a kill at
any time, see whole shards only.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np
import tqdm

from jaxreid.process import array_file, atomic, digest, json_file
from jaxreid.search import feature_rows
from jaxreid.search import tracklets as tracklets_lib

HEADER = 'gallery.json'
_FORMAT = 1
_EMBEDDING, _TRACKLETS, _INDEX = 'embedding.npy', 'tracklets.jsonl', 'rows.npy'
# Hash of a tracklet's name, where its line begins, digests of its line and of its features.
_ROW = np.dtype([('name', '<u8'), ('line', '<u8'), ('text', '<u4'), ('features', '<u4')])
_ROWS = 16384  # copied at a time
_COLUMNS = 'name', 'person', 'camera', 'time', 'frames'
_EQUAL = 1e-3  # of their length that features of one tracklet differ by when they are extracted again


class _Line(TypedDict):
    name: str
    person: str
    camera: str
    time: str
    frames: int
    film: list[str]
    people: NotRequired[str]


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
    known = [_index(shard) if (shard / _INDEX).exists() else None for shard in shards]
    places: list[int] = []
    for shard, index in zip(shards, known):
        before = len(places)
        lines = tqdm.tqdm(_lines(shard, index), desc=f'read {shard.name}', unit='tracklet', leave=False, delay=2)
        for place, _, line in lines:
            places.append(place)
            for key, values in columns.items():
                values.append(sys.intern(line.get('people', '')) if key == 'people' else line[key])
        lengths.append(_length(shard, header['dim'], len(places) - before))
    ends = np.cumsum(lengths)

    def film(row: int) -> list[str]:
        return _line(shards[int(np.searchsorted(ends, row, side='right'))], places[row])['film']

    def check(part: int, rows: np.ndarray, values: np.ndarray) -> None:
        index = known[part]
        if index is not None and (digest.of_rows(values) != index['features'][rows]).any():
            raise _damaged(shards[part], f'{_EMBEDDING} is not what was written')

    paths = [shard / _EMBEDDING for shard in shards]
    return tracklets_lib.Tracklets(
        where=f'the gallery {folder}',
        features=feature_rows.Rows.files(paths, lengths, dim=header['dim'], check=check),
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
        with atomic.lock(folder / '.lock'):
            held, new = _made_or_checked(folder, added)
            if not len(new):
                return Appended(0, len(added), held)
            _check_values(added, new)
            if not is_gallery(folder) or not held:  # or whoever wrote the header was killed before the first shard
                header = {'format': _FORMAT, 'dim': added.features.dim, 'dtype': 'float32', 'made': added.made}
                atomic.write_json(folder / HEADER, digest.signed(header))
            number = max((int(shard.name.removeprefix('shard-')) for shard in _shards(folder)), default=-1) + 1
            with atomic.folder(folder / f'shard-{number:08d}') as partial:
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
    for row, shard, number, written in doubtful:
        ours = array_file.npy(shard / _EMBEDDING, mapped=True)[number]
        if digest.of_rows(ours[None])[0] != written:
            raise _damaged(shard, f'{_EMBEDDING} is not what was written')
        theirs = added.features.read(row, row + 1)[0]
        if not np.linalg.norm(theirs - ours) <= _EQUAL * np.linalg.norm(ours):
            raise _differs(added, row, folder, 'features')
    return held, np.setdiff1d(np.arange(len(added)), there)


def _there(folder, added):
    """How many tracklets there are, rows of `added` that are among them, and (row, shard, its row, digest) to doubt.

    Raises:
      ValueError: one of the name is another tracklet.
    """
    rows = {name: row for row, name in enumerate(added.name)}
    wanted = np.unique(np.array([_hash(name) for name in added.name], np.uint64))
    held, there, doubtful = 0, [], []
    for shard in _shards(folder):
        written = (shard / _TRACKLETS).stat().st_mtime
        index = _index(shard)
        held += len(index)
        near = wanted[np.searchsorted(wanted[:-1], index['name'])]
        for number in np.flatnonzero(near == index['name']).tolist():
            line = _line(shard, int(index['line'][number]), int(index['text'][number]))
            row = rows.get(line['name'])
            if row is None:  # another name with the same hash
                continue
            for key in _COLUMNS:
                if line[key] != getattr(added, key)[row]:
                    raise _differs(added, row, folder, f'{key} {line[key]!r} there, {getattr(added, key)[row]!r} here')
            there.append(row)
            if added.features.at_hand or not _unchanged(line['film'], added.film(row), written):
                doubtful.append((row, shard, number, index['features'][number]))
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
    index = np.zeros(len(rows), _ROW)
    out = np.lib.format.open_memmap(shard / _EMBEDDING, mode='w+', dtype=np.float32, shape=shape)
    for start in tqdm.trange(0, len(rows), _ROWS, desc='write', leave=False, disable=len(rows) < 4 * _ROWS):
        some = slice(start, start + _ROWS)
        out[some] = added.features.take(rows[some])
        index['features'][some] = digest.of_rows(out[some])
    out.flush()
    with (shard / _TRACKLETS).open('wb') as file:
        for number, row in enumerate(rows.tolist()):
            line = {key: getattr(added, key)[row] for key in _COLUMNS}
            line['people'] = added.people[row] if added.people else ''
            text = json.dumps(line | {'film': added.film(row)}).encode() + b'\n'
            _describe(index[number], line['name'], file.tell(), text)
            file.write(text)
    (shard / _INDEX).write_bytes(array_file.with_digest(index))
    # All is on disk before the name says so.
    for path in (shard / _EMBEDDING, shard / _TRACKLETS, shard / _INDEX, shard):
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _shards(folder):
    return sorted(path for path in folder.glob('shard-*') if path.name.removeprefix('shard-').isdigit())


def _header(folder):
    try:
        header = json_file.read(folder / HEADER, dict[str, Any])
        if header['format'] != _FORMAT:
            raise ValueError(f'its format is {header["format"]}, this version of jaxreid reads {_FORMAT}')
        if not (isinstance(header['dim'], int) and header['dim'] > 0 and isinstance(header['made'], dict)):
            raise ValueError('dim or made is not what it should be')
        header['made'] = json_file.fitting(header['made'], tracklets_lib.Made)
    except (ValueError, KeyError, TypeError) as e:
        raise ValueError(f'{folder / HEADER} cannot be used ({e}); make the gallery again') from e
    return header


def _index(shard: pathlib.Path) -> np.ndarray:
    """[n] `_ROW`; of an older shard it is made, and kept where that can be."""
    if not (shard / _INDEX).exists():
        known = list(_lines(shard, None))
        features = array_file.npy(shard / _EMBEDDING, mapped=True)
        index = np.zeros(len(known), _ROW)
        for number, (place, text, line) in enumerate(known):
            _describe(index[number], line['name'], place, text)
        for start in range(0, len(index), _ROWS):
            index['features'][start : start + _ROWS] = digest.of_rows(features[start : start + _ROWS])
        with contextlib.suppress(OSError):
            atomic.write(shard / _INDEX, array_file.with_digest(index))
        return index
    try:
        index = array_file.checked(shard / _INDEX)
        if index.dtype != _ROW or index.ndim != 1:
            raise ValueError(f'{_INDEX} holds {index.dtype}')
        return index
    except (ValueError, OSError) as e:
        raise _damaged(shard, str(e)) from e


def _describe(row: np.void, name: str, place: int, text: bytes) -> None:
    row['name'], row['line'], row['text'] = _hash(name), place, zlib.crc32(text)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=8).digest(), 'little')


def _lines(shard: pathlib.Path, index: np.ndarray | None) -> Iterator[tuple[int, bytes, dict]]:
    """Where every line begins, the line and what it says; compared with the index where there is one."""
    place, digests = 0, [] if index is None else index['text'].tolist()
    try:
        with (shard / _TRACKLETS).open('rb') as file:
            for number, text in enumerate(file):
                if index is not None and digests[number : number + 1] != [zlib.crc32(text)]:
                    raise ValueError(f'line {number + 1} of {_TRACKLETS} is not what was written')
                where = f'line {number + 1} of {_TRACKLETS}'
                yield place, text, dict(json_file.parse(text, _Line, where=where, what='a tracklet'))
                place += len(text)
    except (ValueError, OSError) as e:
        raise _damaged(shard, str(e)) from e


def _line(shard: pathlib.Path, place: int, written: int | None = None) -> dict:
    """The line that begins at a place, and has that CRC-32."""
    try:
        with (shard / _TRACKLETS).open('rb') as file:
            file.seek(place)
            text = file.readline()
        if written is not None and zlib.crc32(text) != written:
            raise ValueError(f'the line at byte {place} of {_TRACKLETS} is not what was written')
        return dict(json_file.parse(text, _Line, where=f'the line at byte {place} of {_TRACKLETS}', what='a tracklet'))
    except (ValueError, OSError) as e:
        raise _damaged(shard, str(e)) from e


def _damaged(shard: pathlib.Path, what: str) -> ValueError:
    return ValueError(f'{shard} is damaged ({what}); remove that folder and add its tracklets again')


def _length(shard, dim, lines):
    try:
        array = array_file.npy(shard / _EMBEDDING, mapped=True)
    except (ValueError, OSError) as e:
        said = 'is missing' if isinstance(e, FileNotFoundError) else 'is cut short or no .npy file'
        raise _damaged(shard, f'{_EMBEDDING} {said}') from e
    if array.dtype != np.float32:
        raise _damaged(shard, f'features {array.dtype}, expected float32')
    if array.shape != (lines, dim):
        raise _damaged(shard, f'features {list(array.shape)}, expected {[lines, dim]}')
    return lines


def _others(folder):
    """What a folder that is to become a gallery must not hold."""
    return (path for path in folder.iterdir() if path.name != '.lock' and not path.name.startswith(f'.{HEADER}'))
