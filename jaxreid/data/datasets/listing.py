"""What the readers of data sets in folders share: sorted listings, and errors that say how the folder should look.

Everything is sorted here, so that the order in which a file system lists a folder reaches no reader.
"""

import os
import re
from collections.abc import Iterable, Sequence

_SHOWN = 3  # of many offending names, how many a message lists
IGNORED = ('.', '_', '@')  # what file managers, archive tools and network storage leave behind starts with these


def open_root(root: str | os.PathLike, *, what: str, layout: str) -> str:
    """Absolute path of the data set's folder. Raises FileNotFoundError: there is no such folder."""
    path = os.path.abspath(os.path.expanduser(os.fspath(root)))
    if not os.path.isdir(path):
        raise FileNotFoundError(f'No {what} dataset at {path}: there is no such folder. {layout}')
    return path


def below(root: str, archive: str, *, holds: Sequence[str], what: str, layout: str) -> str:
    """Where in `root` the folders `holds` are: '' or, in the archive's own folder, '<archive>/'.

    Raises:
      FileNotFoundError: they are in neither.
    """
    for prefix in ('', f'{archive}/'):
        if all(os.path.isdir(os.path.join(root, prefix, *name.split('/'))) for name in holds):
            return prefix
    start = f'{archive}/' if os.path.isdir(os.path.join(root, archive)) else ''
    missing = [name for name in holds if not os.path.isdir(os.path.join(root, start, *name.split('/')))]
    raise FileNotFoundError(
        f'{root} is not a {what} dataset: no folder {", ".join(start + name for name in missing)}; found '
        f'{shown(os.path.join(root, start))}. {layout}'
    )


def need_file(root: str, choices: Sequence[str], *, layout: str) -> str:
    """The first of the relative paths `choices` that is a file. Raises FileNotFoundError: none is."""
    for path in choices:
        if os.path.isfile(os.path.join(root, *path.split('/'))):
            return path
    raise FileNotFoundError(f'{" or ".join(choices)} missing in {root}; found {shown(root)}. {layout}')


def folders(folder: str, pattern: re.Pattern[str], *, example: str) -> list[str]:
    """Sorted names of the folders in `folder`.

    Raises:
      ValueError: there is none, or one has a name that the data set does not give.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(IGNORED) and entry.is_dir())
    malformed = [name for name in names if pattern.fullmatch(name) is None]
    if malformed or not names:
        problem = f'folders {malformed[:_SHOWN]}' if malformed else 'no folders'
        raise ValueError(
            f'{folder} holds {problem}; expected folders such as {example}. Unpack the archive again, or move what '
            'does not belong to the data set away.'
        )
    return names


def files(folder: str) -> list[str]:
    """Sorted names in `folder`, those of file managers left out; [] where there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(IGNORED))
    except (FileNotFoundError, NotADirectoryError):
        return []


def frames(names: Iterable[str], pattern: re.Pattern[str], *, where: str, example: str) -> list[re.Match[str]]:
    """A match for each frame among the names in a tracklet's folder, in the order of the names. Files that are not
    images of its kind, which the suffix of `example` tells, are ignored.

    Raises:
      ValueError: no frames, or an image whose name says nothing.
    """
    names = sorted(names)
    suffix = os.path.splitext(example)[1]
    images = [name for name in names if name.endswith(suffix)]
    matches = [match for match in map(pattern.fullmatch, images) if match]
    if len(matches) < len(images):
        malformed = [name for name in images if pattern.fullmatch(name) is None]
        raise ValueError(
            f'{len(malformed)} malformed frame names in {where}, such as {malformed[:_SHOWN]}; expected names such as '
            f'{example}. Move what does not belong to the data set away.'
        )
    if not matches:
        raise ValueError(
            f'{where} holds no frames: found {_some(names)}, expected images such as {example}. Unpack the archive '
            'again, or remove the folder to do without the tracklet.'
        )
    return matches


def in_order(matches: Iterable[re.Match[str]], *, group: int, where: str) -> list[str]:
    """File names by the frame number in `group` of the match. Raises ValueError: two frames have one number."""
    by_number: dict[int, str] = {}
    for match in matches:
        number = int(match.group(group))
        if number in by_number:
            raise ValueError(
                f'{where} holds frame {number} twice: {by_number[number]} and {match.string}; keep one of them.'
            )
        by_number[number] = match.string
    return [by_number[number] for number in sorted(by_number)]


def shown(folder: str) -> str:
    """What a folder holds, for messages."""
    return _some(files(folder))


def _some(names: Sequence[str]) -> str:
    if not names:
        return 'nothing'
    return ', '.join(names[:_SHOWN]) + (f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else '')
