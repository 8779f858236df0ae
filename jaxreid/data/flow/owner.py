"""Which data set a flow folder is of: files in it are named after the frames' paths, which two data sets may share.

The folder keeps digests of some of the frames that its flow was computed from. A data set that is moved, read in
another split or grows keeps its folder; one whose frames under the same paths are others is refused.
"""

import hashlib
import pathlib
from collections.abc import Callable, Sequence
from typing import TypedDict

from jaxreid.process import atomic, digest, json_file

FILE = 'dataset.json'
_FRAMES = 16  # whose digests are kept [choice]


class _Owner(TypedDict):
    """The data set that a folder's flow is of; `frames`: path -> digest."""

    dataset: str
    root: str
    frames: dict[str, str]


def check(folder: str, paths: Sequence[str], read: Callable[[str], bytes], *, dataset: str, root: str) -> None:
    """Makes an unused flow folder the data set's, and checks that one in use is, by some of the files at `paths`.

    Raises:
      ValueError: the folder holds the flow of other frames, or its description is damaged.
      OSError: it cannot be read or written.
    """
    file = pathlib.Path(folder, FILE)
    try:
        kept = json_file.read(file, _Owner, advice=f'remove it if {folder} holds the flow of {dataset}')
    except FileNotFoundError:
        step = max(1, len(paths) // _FRAMES)
        if made := _digests(paths[::step][:_FRAMES], read):
            atomic.write_json(file, digest.signed({'dataset': dataset, 'root': root, 'frames': made}))
        return
    owner, digests = f'{kept["dataset"]} in {kept["root"]}', kept['frames']
    if not digests:
        raise ValueError(f'{file} names no frames; remove it if {folder} holds the flow of {dataset}')
    now = _digests(list(digests), read)
    wrong = [path for path, value in now.items() if value != digests[path]]
    if wrong or not now:
        raise ValueError(
            f'{folder} holds the flow of {owner}; {(wrong or list(digests))[0]} is another image, or none, in '
            f'{dataset} in {root}. Give every data set a flow folder of its own (--config.data.flow_folder); if the '
            'images of this one have changed, remove the folder.'
        )


def _digests(paths: Sequence[str], read: Callable[[str], bytes]) -> dict[str, str]:
    """Of the frames that are there."""
    digests = {}
    for path in paths:
        try:
            digests[path] = hashlib.sha256(read(path)).hexdigest()
        except (OSError, ValueError):
            continue
    return digests
