"""The live form of a gallery: a folder that grows by whole shards, read without holding it in memory.

  gallery.json              dimension, dtype, and how the features were made (see `tracklets.MADE`)
  shard-00000000/           what one `append` brought; never changed again
    embedding.npy           [n, D] float32
    tracklets.jsonl         n lines: name, person, camera, time, frames, film (image files)

A shard is written under another name and renamed when it is on disk, so that readers at any time, and after a kill at
any time, see whole shards only.
"""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np
import tqdm

from jaxreid import atomic_file
from jaxreid.search import rows as rows_lib
from jaxreid.search import tracklets as tracklets_lib

HEADER = 'gallery.json'
_FORMAT = 1
_EMBEDDING, _TRACKLETS = 'embedding.npy', 'tracklets.jsonl'
_ROWS = 16384  # copied at a time


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
    columns: dict[str, list] = {key: [] for key in ('name', 'person', 'camera', 'time', 'frames')}
    for shard in shards:
        lines = list(_lines(shard))
        lengths.append(_length(shard, header['dim'], len(lines)))
        for line in lines:
            for key, values in columns.items():
                values.append(line[key])
    ends = np.cumsum(lengths)

    def film(row: int) -> list[str]:
        part = int(np.searchsorted(ends, row, side='right'))
        wanted = row - int(ends[part] - lengths[part])
        return next(line['film'] for number, line in enumerate(_lines(shards[part])) if number == wanted)

    paths = [shard / _EMBEDDING for shard in shards]
    return tracklets_lib.Tracklets(
        where=f'the gallery {folder}',
        features=rows_lib.Rows.files(paths, lengths, dim=header['dim']),
        made=header['made'],
        film=film,
        **columns,
    )


def append(folder: pathlib.Path, added: tracklets_lib.Tracklets) -> int:
    """Adds tracklets as one shard, and makes the gallery where there is none; one process at a time.

    Returns:
      How many tracklets the gallery holds now.

    Raises:
      ValueError: features of another kind than the gallery's, not finite, a name that it holds already, or the folder
        holds something else. The gallery is as it was.
      OSError: it cannot be written.
    """
    if folder.exists() and not is_gallery(folder) and not (folder.is_dir() and not any(_others(folder))):
        raise ValueError(f'{folder} exists and is no gallery (it has no {HEADER}); choose a folder of its own')
    _check(added)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(folder):
            held = _make_or_check(folder, added)
            for stale in folder.glob('.shard-*'):  # of a process that was killed: nobody else writes now
                shutil.rmtree(stale, ignore_errors=True)
            number = max((int(shard.name.removeprefix('shard-')) for shard in _shards(folder)), default=-1) + 1
            partial = pathlib.Path(tempfile.mkdtemp(prefix='.shard-', dir=folder))
            try:
                _write(partial, added)
                partial.chmod(0o755)
                partial.rename(folder / f'shard-{number:08d}')
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            return held + len(added)
    except OSError as e:
        raise OSError(f'cannot add to the gallery {folder}: {e}; it is as it was') from e


def _check(added):
    """Features are finite and names single."""
    for start in range(0, len(added), _ROWS):
        finite = np.isfinite(added.features.read(start, start + _ROWS)).all(axis=1)
        if not finite.all():
            raise ValueError(f'{added.where}: {added.name[start + int(np.argmin(finite))]} holds NaN or infinity')
    if not len(added):
        raise ValueError(f'{added.where} has no tracklets to add')
    if len(set(added.name)) < len(added):
        twice = next(name for number, name in enumerate(added.name) if name in added.name[:number])
        raise ValueError(f'{added.where} has two tracklets with the name {twice!r}; names in a gallery are single')


def _make_or_check(folder, added):
    """How many tracklets there are; the header is written where there is none."""
    if not is_gallery(folder) or not _shards(folder):  # or whoever wrote the header was killed before the first shard
        header = {'format': _FORMAT, 'dim': added.features.dim, 'dtype': 'float32', 'made': added.made}
        with atomic_file.writing(folder / HEADER) as file:
            file.write(json.dumps(header, indent=1).encode() + b'\n')
        return 0
    header = _header(folder)
    tracklets_lib.check_made(f'the gallery {folder}', header['dim'], header['made'], added)
    if lacking := [text for key, text in tracklets_lib.MADE.items() if key in header['made'] and key not in added.made]:
        raise ValueError(
            f'{added.where} does not say how its features were made ({", ".join(lacking)}), but the gallery {folder} '
            'does; features of another kind would be mixed in. Extract them with jaxreid.'
        )
    names, held = set(added.name), 0
    for shard in _shards(folder):
        for line in _lines(shard):
            held += 1
            if line['name'] in names:
                raise ValueError(
                    f'{line["name"]!r} of {added.where} is in the gallery {folder} already; nothing is added'
                )
    return held


def _write(shard, added):
    shape = len(added), added.features.dim
    out = np.lib.format.open_memmap(shard / _EMBEDDING, mode='w+', dtype=np.float32, shape=shape)
    for start in tqdm.trange(0, len(added), _ROWS, desc='write', leave=False, disable=len(added) < 4 * _ROWS):
        out[start : start + _ROWS] = added.features.read(start, start + _ROWS)
    out.flush()
    with (shard / _TRACKLETS).open('w', encoding='utf-8') as file:
        for row in range(len(added)):
            line = {key: getattr(added, key)[row] for key in ('name', 'person', 'camera', 'time', 'frames')}
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
        raise ValueError(f'{shard} is damaged ({e}); remove that folder and add its tracklets again') from e
    if shape != (lines, dim):
        raise ValueError(f'{shard} is damaged: features {list(shape)}, expected {[lines, dim]}; remove that folder')
    return lines


def _others(folder):
    """What a folder that is to become a gallery must not hold."""
    return (path for path in folder.iterdir() if path.name != '.lock' and not path.name.startswith(f'.{HEADER}'))


@contextlib.contextmanager
def _lock(folder):
    """Lets one process at a time append, where the system has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (folder / '.lock').open('a') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
