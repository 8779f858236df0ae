"""Reader of a manifest: one table that says which files are whose tracklet. For data in folders of one's own.

A CSV file with a header, or JSON lines (one object per line), with the columns

    tracklet   a name, once in the file
    pid        the person: a number, or a name
    camera     the camera: a number, or a name
    role       train | query | gallery | query+gallery
    frames     image files in order of time, separated by '|' (JSON lines: or a list)
    folder     or: all images of this folder
    glob       or: those images of a folder whose names fit a pattern with * ? [], as in shop/cam1/0007_*.jpg

    attr:NAME  if there are such: what else is known, as attr:occluded or attr:outfit; scores are told apart by it
    time       if there is one: when the tracklet begins, as text; `jaxreid.search` reads ISO 8601 or seconds

of frames, folder and glob exactly one per row. Other columns are left alone. Paths start at the manifest's folder, or
at one that is named, and stay below it. Images of a folder or pattern are in the order of their names, in which runs of
digits count as numbers: frame9.jpg comes before frame10.jpg. A still image is a tracklet of one frame.

Where every pid is a number it is kept: above 0, or in the gallery also 0 (a distractor) and -1 (junk, never ranked).
Otherwise the names are numbered from 1 in sorted order, and 0 and -1 keep their meaning. So with
cameras, whose numbers are 0 or above.
"""

import bisect
import collections
import contextlib
import csv
import fnmatch
import io
import json
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxreid.data.datasets import facts, listing
from jaxreid.data.tracklets import tracklet
from jaxreid.process import paths

ROLES = ('train', 'query', 'gallery', 'query+gallery')
COLUMNS = ('tracklet', 'pid', 'camera', 'role')
FILES = ('frames', 'folder', 'glob')
ATTRIBUTE = 'attr:'  # what the names of further columns begin with
IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.jpe', '.jfif', '.gif', '.jp2', '.avif')
LAYOUT = (
    'A manifest is a .csv or .jsonl file with the columns tracklet, pid, camera, role '
    f'({", ".join(ROLES)}) and one of frames, folder and glob; data.root names the file. '
    'python -m jaxreid.data_pipelines.manifest FOLDER OUT.csv writes one.'
)
_LARGEST = 2**31 - 1  # of ids and camera numbers
_SHOWN = 5  # of many bad rows, how many a message lists
_NUMBER = re.compile(r'-?[0-9]{1,10}', re.ASCII)


Cells = dict[str, object]  # column -> cell: text, or what JSON has there


class _Row(NamedTuple):
    line: int
    tracklet: str
    pid: Any  # as written, then its number
    camera: Any  # likewise
    role: str
    frames: tuple[str, ...]
    time: str
    attributes: Mapping[str, str]


def read(path: str | os.PathLike, *, frames_root: str = '') -> tracklet.Dataset:
    """Reads and checks a manifest and the names of its files; opens no image. Paths start at `frames_root`, or where
    the manifest lies.

    Where names were numbered, `pid_names` and `camera_names` tell. Queries without a match in the gallery are warned
    about.

    Raises:
      FileNotFoundError: no manifest, or files or folders that it names are missing.
      ValueError: it does not say what it should; every line is named.
      OSError: it cannot be read.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if os.path.isdir(path):
        raise ValueError(f'{path} is a folder; data.root of a manifest is the file. {LAYOUT}')
    if not os.path.isfile(path):
        raise FileNotFoundError(f'No manifest at {path}: there is no such file. {LAYOUT}')
    root = os.path.abspath(os.path.expanduser(frames_root)) if frames_root else os.path.dirname(path)
    if not os.path.isdir(root):
        raise FileNotFoundError(
            f'data.frames_root is {root}, and there is no such folder; {path} takes its paths there.'
        )
    rows, problems, missing = [], [], False
    files = _Files(root)
    for line, cells in cells_of(path):
        try:
            rows.append(_row(line, cells, files))
        except (ValueError, OSError) as error:
            missing |= isinstance(error, OSError)
            problems.append(f'line {line}: {error}')
    if not problems and not rows:
        raise ValueError(f'{path} has no rows. {LAYOUT}')
    _stop(path, problems, FileNotFoundError if missing else ValueError)
    pids, pid_names = _numbered([row.pid for row in rows], kept=(tracklet.JUNK_ID, tracklet.DISTRACTOR_ID))
    cameras, camera_names = _numbered([row.camera for row in rows], kept=())
    rows = [row._replace(pid=pids[row.pid], camera=cameras[row.camera]) for row in rows]
    problems = [*_twice(rows), *_wrong_numbers(rows), *_wrong_roles(rows), *_shared_files(rows)]
    _stop(path, problems, ValueError)
    test = [row for row in rows if row.role != 'train']
    dataset = tracklet.Dataset(
        root=root,
        train=tuple([_tracklet(row) for row in rows if row.role == 'train']),
        test=tuple([_tracklet(row) for row in test]),
        query=np.array(['query' in row.role for row in test], bool),
        gallery=np.array(['gallery' in row.role for row in test], bool),
        pid_names=pid_names,
        camera_names=camera_names,
    )
    lonely = dataset.query & ~tracklet.answerable(dataset)
    if lonely.any():
        lines = [f'{test[row].tracklet} (line {test[row].line})' for row in np.flatnonzero(lonely)]
        more = f' and {len(lines) - _SHOWN} more' if len(lines) > _SHOWN else ''
        warnings.warn(
            f'{path}: {len(lines)} of {np.count_nonzero(dataset.query)} queries have no gallery tracklet of their '
            f'person in another camera and cannot be answered: {", ".join(lines[:_SHOWN])}{more}.',
            stacklevel=2,
        )
    return dataset


def natural(name: str) -> tuple[Any, ...]:
    """Sorting key in which runs of digits count as numbers; of equal ones (1.jpg, 01.jpg) the text decides."""
    pieces = re.findall('([0-9]+)|([^0-9]+)', name)
    return tuple([(0, int(digits), '') if digits else (1, 0, text) for digits, text in pieces]), name


def is_image(name: str) -> bool:
    """Whether a file's name has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGES


class _Files:
    """Names in the folders below `root`; every folder is listed once."""

    def __init__(self, root: str):
        self.root = root
        self._listings: dict[str, list[str]] = {}

    def names(self, folder: str) -> list[str]:
        if folder not in self._listings:
            # Names that cannot be written in UTF-8 could not be in the manifest either.
            names = listing.files(os.path.join(self.root, folder))
            self._listings[folder] = [name for name in names if paths.control(name) is None]
        return self._listings[folder]

    def present(self, path: str) -> bool:
        folder, _, name = path.rpartition('/')
        names = self.names(folder)
        at = bisect.bisect_left(names, name)
        return (at < len(names) and names[at] == name) or os.path.isfile(os.path.join(self.root, path))

    def fitting(self, path: str) -> list[str]:
        """Images of a folder that fit a pattern: folder/pattern."""
        folder, _, pattern = path.rpartition('/')
        names = self.names(folder)
        start = re.split(r'[*?\[]', pattern, maxsplit=1)[0]  # a folder of a whole data set is not gone through per row
        names = names[bisect.bisect_left(names, start) : bisect.bisect_right(names, start + chr(0x10FFFF))]
        return [name for name in fnmatch.filter(names, pattern) if is_image(name)]

    def images(self, folder: str, pattern: str = '*') -> tuple[str, ...]:
        if not os.path.isdir(os.path.join(self.root, folder)):
            raise FileNotFoundError(f'there is no folder {folder!r} in {self.root}')
        fitting = self.fitting(f'{folder}/{pattern}')
        if not fitting:
            what = 'images' if pattern == '*' else f'images that fit {pattern!r}'
            raise ValueError(f'folder {folder!r} in {self.root} holds no {what} ({", ".join(IMAGES)})')
        return tuple([_join(folder, name) for name in sorted(fitting, key=natural)])


def _join(folder: str, name: str) -> str:
    return f'{folder}/{name}' if folder else name


def _path(text: str) -> str:
    """A relative path below the root in its one spelling, '' for the root itself."""
    return paths.relative(text, advice='name another one with --config.data.frames_root and write paths relative to it')


def _spelled(text: str, exists: Callable[[str], object]) -> str:
    """`_path` of a text in the first spelling that is there: as written, without space around it, in the other form of
    Unicode, with the separators of Windows.
    """
    bare = text.strip()
    forms = [text, bare, *(unicodedata.normalize(form, bare) for form in ('NFC', 'NFD'))]
    forms += [form.replace('\\', '/') for form in forms[1:] if '\\' in form]
    for form in dict.fromkeys(forms):
        with contextlib.suppress(ValueError):
            if exists(path := _path(form)):
                return path
    return _path(bare)


def cells_of(path: str) -> Iterator[tuple[int, Cells]]:
    """Line number and cells of every row; columns are checked."""
    try:
        with open(path, encoding='utf-8-sig', newline='') as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8 text ({error}); save it as UTF-8.') from error
    match os.path.splitext(path)[1].lower():
        case '.csv':
            yield from _csv_cells(path, text)
        case '.jsonl' | '.ndjson':
            yield from _json_cells(path, text)
        case suffix:
            raise ValueError(f'{path} ends in {suffix!r}; a manifest is a .csv or a .jsonl file. {LAYOUT}')


def _csv_cells(path: str, text: str) -> Iterator[tuple[int, Cells]]:
    limit = csv.field_size_limit(_LARGEST)  # of the whole process; a list of frames may be longer than 128 KB
    try:
        table = csv.reader(io.StringIO(text, newline=''), strict=True)
        header = [name.strip() for name in next(table, [])]
        lacking = [name for name in COLUMNS if name not in header]
        if lacking or not set(FILES) & set(header):
            wanted = ', '.join([*lacking, *([] if set(FILES) & set(header) else ['one of ' + ', '.join(FILES)])])
            raise ValueError(f'{path} line 1 has the columns {header}; missing: {wanted}. Commas separate columns.')
        ours = [name for name in header if name in COLUMNS + FILES or name.startswith(ATTRIBUTE)]
        double = [name for name, count in collections.Counter(ours).items() if count > 1]
        if double:
            raise ValueError(f'{path} line 1 has the column {double[0]} twice.')
        for row in table:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise ValueError(f'{path} line {table.line_num} has {len(row)} cells, the header {len(header)}.')
            yield table.line_num, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ValueError(f'{path} line {table.line_num} is not CSV: {error}.') from error
    finally:
        csv.field_size_limit(limit)


def _json_cells(path: str, text: str) -> Iterator[tuple[int, Cells]]:
    for line, row in enumerate(text.split('\n'), start=1):
        if not row.strip():
            continue
        try:
            cells = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{path} line {line} is not JSON ({error}); expected one object per line.') from error
        if not isinstance(cells, dict):
            raise ValueError(f'{path} line {line} holds {row[:40]!r}; expected an object with {", ".join(COLUMNS)}.')
        yield line, cells


def _row(line: int, cells: Cells, files: _Files) -> _Row:
    name, pid, camera, role = [_text(cells, column) for column in COLUMNS]
    pid, camera = one_spelling(pid), one_spelling(camera)
    if re.fullmatch('0+-1', pid):
        raise ValueError(f'pid {pid!r} is how MARS calls its folder of junk; write -1, or leave the row out')
    if role not in ROLES:
        raise ValueError(f'the role is {role!r}; expected {", ".join(ROLES)}')
    given = [column for column in FILES if cells.get(column) not in (None, '', [])]
    if len(given) != 1:
        filled = ' and '.join(given) if given else 'none of them'
        raise ValueError(f'expected exactly one of {", ".join(FILES)}; {filled} is filled')
    time = cells.get('time')  # of a column that need not be ours: nothing in it is an error
    time = str(time).strip() if isinstance(time, (str, int, float)) else ''
    frames = _frames(cells[given[0]], given[0], files)
    return _Row(line, name, pid, camera, role, frames, time, _attributes(cells))


def _attributes(cells: Cells) -> dict[str, str]:
    known = {column: cell for column, cell in cells.items() if column.startswith(ATTRIBUTE) and cell is not None}
    wrong = next((column for column, cell in known.items() if isinstance(cell, (list, dict))), None)
    if wrong:
        raise ValueError(f'{wrong} is {str(known[wrong])[:40]!r}; expected a text, a number, true or false')
    texts = {column.removeprefix(ATTRIBUTE): str(cell).strip() for column, cell in known.items()}
    return {column: text for column, text in texts.items() if text}


def one_spelling(text: str) -> str:
    """A person or a camera as it counts: without space around it, in composed Unicode, and 7 for 7.0, as programs for
    tables write whole numbers.
    """
    text = unicodedata.normalize('NFC', text.strip())
    number, _, zeros = text.partition('.')
    return number if zeros.strip('0') == '' and _NUMBER.fullmatch(number) else text


def _text(cells: Cells, column: str) -> str:
    value = cells.get(column)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return str(value)
    if not isinstance(value, str) or not value.strip():
        said = 'is missing' if value in (None, '') else f'is {str(value)[:40]!r}'
        raise ValueError(f'{column} {said}; expected a name or a whole number up to {_LARGEST}')
    if (wrong := paths.control(value.strip())) is not None:
        raise ValueError(f'{column} {value!r} holds the character {wrong!r}')
    return value.strip()


def _frames(value: Any, column: str, files: _Files) -> tuple[str, ...]:
    if column != 'frames':
        if not isinstance(value, str):
            raise ValueError(f'{column} is {str(value)[:40]!r}; expected a path')
        if column == 'folder':
            return files.images(_spelled(value, lambda folder: os.path.isdir(os.path.join(files.root, folder))))
        folder, _, pattern = _spelled(value, files.fitting).rpartition('/')
        if re.search(r'[*?\[]', folder) or '**' in pattern or not pattern:
            raise ValueError(f'glob {value!r}: only its last part may be a pattern, as in shop/cam1/0007_*.jpg')
        return files.images(folder, pattern)
    listed = value.split('|') if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) and one.strip() for one in listed):
        raise ValueError(f"frames is {str(value)[:40]!r}; expected paths with '|' between")
    frames = tuple([_spelled(one, files.present) for one in listed])
    # An image's suffix is believed: a million files are listed by folder, and not looked at one by one.
    holding = next((f for f in frames if not is_image(f) and os.path.isdir(os.path.join(files.root, f))), None)
    if holding is not None:
        raise ValueError(f'frames holds {holding or "."!r}, a folder; name it in the column folder, or list its images')
    absent = [frame for frame in frames if not files.present(frame)]
    if absent:
        raise FileNotFoundError(f'{len(absent)} of {len(frames)} files are not in {files.root}, first {absent[0]!r}')
    repeated = next((frame for frame, count in collections.Counter(frames).items() if count > 1), None)
    if repeated:
        raise ValueError(f'the frame {repeated!r} is listed twice')
    return frames


def _twice(rows: Sequence[_Row]) -> Iterator[str]:
    first: dict[str, int] = {}
    for row in rows:
        if first.setdefault(row.tracklet, row.line) != row.line:
            yield f'line {row.line}: tracklet {row.tracklet!r} is in line {first[row.tracklet]} already'


def _wrong_numbers(rows: Sequence[_Row]) -> Iterator[str]:
    for row in rows:
        if not tracklet.JUNK_ID <= row.pid <= _LARGEST:
            yield f'line {row.line}: pid {row.pid}; expected 1 to {_LARGEST}, 0 for distractors, -1 for junk, or names'
        if not 0 <= row.camera <= _LARGEST:
            yield f'line {row.line}: camera {row.camera}; expected 0 to {_LARGEST}, or names'


def _wrong_roles(rows: Sequence[_Row]) -> Iterator[str]:
    """Persons on both sides of the split, and trained or queried what is no person."""
    trained = {row.pid: row.line for row in reversed(rows) if row.role == 'train'}
    for row in rows:
        if row.pid in (tracklet.JUNK_ID, tracklet.DISTRACTOR_ID):
            if row.role != 'gallery':
                what = 'junk' if row.pid == tracklet.JUNK_ID else 'distractors'
                yield f'line {row.line}: pid {row.pid} means {what}, for the gallery only; number persons from 1'
        elif row.role != 'train' and row.pid in trained:
            yield f'line {row.line}: tests a person whom line {trained[row.pid]} trains on; each is in one part only'


def _shared_files(rows: Sequence[_Row]) -> Iterator[str]:
    """One image in two tracklets is right only where both are pieces of the same walk past the same camera."""
    owner: dict[str, _Row] = {}
    for row in rows:
        for frame in row.frames:
            other = owner.setdefault(frame, row)
            if (other.pid, other.camera, other.role == 'train') != (row.pid, row.camera, row.role == 'train'):
                yield (
                    f'line {row.line}: {frame} is in tracklet {other.tracklet!r} of line {other.line} too, with '
                    'another person, camera or side of the split'
                )
                break


def _numbered(values: Iterable[str], *, kept: Sequence[int]) -> tuple[dict[str, int], dict[int, str]]:
    """Value -> number, and number -> value where we gave the numbers; beside names those of `kept` stay."""
    distinct = sorted(set(values))
    if all(_NUMBER.fullmatch(value) for value in distinct):
        return {value: int(value) for value in distinct}, {}
    stay = {value: int(value) for value in distinct if _NUMBER.fullmatch(value) and int(value) in kept}
    given = {name: number for number, name in enumerate((v for v in distinct if v not in stay), start=1)}
    return given | stay, {number: name for name, number in given.items()}


def _tracklet(row: _Row) -> tracklet.Tracklet:
    return tracklet.Tracklet(row.tracklet, row.pid, row.camera, row.frames, time=row.time, attributes=row.attributes)


def _stop(path: str, problems: Sequence[str], kind: type[Exception]) -> None:
    if problems:
        more = f'\n  and {len(problems) - _SHOWN} more' if len(problems) > _SHOWN else ''
        listed = '\n  '.join(problems[:_SHOWN])
        raise kind(f'{path} has {len(problems)} bad lines:\n  {listed}{more}')


def _title(data: facts.Settings) -> str:
    """With the file's folder: many are called own.csv."""
    path = os.path.abspath(data.root or data.records)
    return f'manifest {"/".join(path.split(os.sep)[-2:])}'


FACTS = facts.Facts(
    name='manifest',
    about="Tracklets of one's own, by a table; `manual_dir` is the table.",
    layout=LAYOUT,
    read=lambda data: read(data.root, frames_root=data.frames_root),
    title=_title,
)
