"""Writes a manifest of images in folders, so that own tracklets can be trained on, evaluated and extracted.

  python -m data_pipelines.manifest FOLDER OUT.csv --pattern '(?P<pid>[^/]+)/cam(?P<camera>\\d+)_(?P<tracklet>[^/]+)/.*'

FOLDER is searched for images. The pattern, a regular expression, must fit the whole path of each below FOLDER ('/'
between folders) and names its parts: pid and camera, and where they do not tell tracklets apart tracklet. Images of one
folder that agree in all named parts are a tracklet, in the order of their names, digits counted as numbers.

A part named role says train, query, gallery or query+gallery; otherwise --role gives all tracklets one role, or people
are drawn: a share of those whom two cameras saw is tested on, with their first tracklet in each camera as query and all
of them as gallery, and everybody else is trained on (pid -1 and 0, junk and distractors, are gallery; MARS writes 00-1
and 0000). The draw depends on the people's names alone.
"""

import collections
import csv
import io
import json
import os
import pathlib
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tqdm

from jaxreid import command_line, config
from jaxreid.data import source
from jaxreid.data.batches import train_pipeline
from jaxreid.data.datasets import listing, manifest
from jaxreid.data.tracklets import hash_order
from jaxreid.process import atomic, commands, exit_status, paths
from jaxreid.weights import imagenet

_CONFIG = 'configs/strf_manifest.py'
_SHOWN = 3
_NOBODY = re.compile('-1|0+', re.ASCII)  # junk and distractors


class Listed(NamedTuple):
    """A tracklet."""

    name: str
    pid: str
    camera: str
    role: str  # '' where the pattern names none
    folder: str  # where its images lie, '' for the searched folder itself
    frames: list[str]  # their names, in order
    whole: bool  # whether they are all images of that folder


def find(folder: str | os.PathLike, pattern: str, *, skip_others: bool = False) -> list[Listed]:
    """The tracklets below a folder, sorted by name; links to folders are followed once.

    The pattern has the named groups pid and camera, and if need be tracklet and role. `skip_others` leaves out images
    that it does not fit.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a pattern that cannot be, no images, or images that it does not fit; names some.
    """
    folder = os.path.abspath(os.path.expanduser(os.fspath(folder)))
    if not os.path.isdir(folder):
        raise FileNotFoundError(f'There is no folder {folder}.')
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ValueError(f'--pattern {pattern!r} is not a regular expression: {error}.') from error
    groups = expression.groupindex.keys()
    if not {'pid', 'camera'} <= groups <= {'pid', 'camera', 'tracklet', 'role'}:
        raise ValueError(
            f'--pattern names the parts {sorted(groups)}; expected (?P<pid>...) and (?P<camera>...), and where needed '
            '(?P<tracklet>...) and (?P<role>...).'
        )
    images: dict[tuple[str, ...], list[str]] = {}  # folder and named parts -> names
    others: list[str] = []
    in_folder: dict[str, int] = {}
    for where, name in _walk(folder):
        path = f'{where}/{name}' if where else name
        match = expression.fullmatch(path)
        if match is None:
            others.append(path)
            continue
        parts = {k: manifest.one_spelling(v or '') for k, v in match.groupdict().items()}
        parts['pid'] = re.sub('^0+-1$', '-1', parts['pid'])  # as MARS names its folder of junk
        if not (parts['pid'] and parts['camera']):
            raise ValueError(f'--pattern finds no pid or no camera in {path!r}.')
        key = where, parts['pid'], parts['camera'], parts.get('tracklet', ''), parts.get('role', '')
        images.setdefault(key, []).append(name)
        in_folder[where] = in_folder.get(where, 0) + 1
    if others and not skip_others:
        raise ValueError(
            f'--pattern does not fit {len(others)} of the images below {folder}, such as {", ".join(others[:_SHOWN])}. '
            'It must fit whole paths below that folder; --skip-others leaves these images out.'
        )
    if not images:
        raise ValueError(f'No images ({", ".join(manifest.IMAGES)}) of a tracklet below {folder}.')
    alone = {where for where, count in in_folder.items() if not any(os.path.dirname(path) == where for path in others)}
    return _named(images, in_folder, alone)


def _named(images: dict[tuple[str, ...], list[str]], in_folder: dict[str, int], alone: set[str]) -> list[Listed]:
    """Tracklets with a name each: pid/camera/tracklet, and where these agree in several folders a number."""
    listed, taken = [], set[str]()
    for key in sorted(images, key=lambda key: [manifest.natural(part) for part in key]):
        where, pid, camera, tracklet, role = key
        name = base = '/'.join(part for part in (pid, camera, tracklet) if part)
        number = 1
        while name in taken:
            number += 1
            name = f'{base}#{number}'
        taken.add(name)
        frames = sorted(images[key], key=manifest.natural)
        all_of_it = where in alone and in_folder[where] == len(frames)
        listed.append(Listed(name, pid, camera, role, where, frames, all_of_it))
    return listed


def _walk(folder: str) -> list[tuple[str, str]]:
    """(folder below, name) of every image, sorted."""
    images, others = [], collections.Counter[str]()
    seen = set[str]()
    bar = tqdm.tqdm(desc='search', unit='folder', leave=False)
    for path, folders, files in os.walk(folder, followlinks=True):
        bar.update()
        if os.path.realpath(path) in seen:  # links may go round in circles
            folders.clear()
            continue
        seen.add(os.path.realpath(path))
        folders[:] = sorted(name for name in folders if not name.startswith(listing.IGNORED))
        where = os.path.relpath(path, folder).replace(os.sep, '/')
        files = sorted(name for name in files if not name.startswith(listing.IGNORED))
        images += [('' if where == '.' else where, name) for name in files if manifest.is_image(name)]
        others.update(os.path.splitext(name)[1].lower() or 'none' for name in files if not manifest.is_image(name))
    bar.close()
    if others:
        kinds = ', '.join(f'{count} {suffix}' for suffix, count in others.most_common(_SHOWN))
        more = f' and {len(others) - _SHOWN} more kinds' * (len(others) > _SHOWN)
        said = f'{others.total():,} files below {folder} have no suffix of an image and are left out: {kinds}{more}'
        print(exit_status.printable(said), file=sys.stderr)
    return images


def draw_roles(listed: Sequence[Listed], *, test_share: float) -> list[Listed]:
    """Roles for tracklets that have none: see the module's docstring.

    Raises:
      ValueError: a share outside 0 to 1, or too few people whom two cameras saw.
    """
    if not 0 < test_share < 1:
        raise ValueError(f'--test-share is {test_share}; expected a share of people above 0 and below 1.')
    cameras: dict[str, set[str]] = {}
    for one in listed:
        cameras.setdefault(one.pid, set()).add(one.camera)
    eligible = [pid for pid in sorted(cameras) if len(cameras[pid]) > 1 and not _NOBODY.fullmatch(pid)]
    number = round(test_share * len(eligible))
    if not number:
        raise ValueError(
            f'{len(eligible)} of {len(cameras)} people were seen by more than one camera; a share of {test_share:g} of '
            'them is nobody to test on. '
            + ('Give a larger --test-share' if eligible else 'Let --pattern give each visit a camera of its own if one '
               'camera saw them again, as with (?P<camera>cam1_[^/]+)')
            + ', or give one role to all, as with --role gallery.'
        )  # fmt: skip
    tested = set(hash_order.shuffled(eligible, seed='manifest')[:number])
    asked = set[tuple[str, str]]()
    made = []
    for one in listed:
        if _NOBODY.fullmatch(one.pid):
            role = 'gallery'
        elif one.pid not in tested:
            role = 'train'
        elif (one.pid, one.camera) in asked:
            role = 'gallery'
        else:
            role = 'query+gallery'
            asked.add((one.pid, one.camera))
        made.append(one._replace(role=role))
    return made


def write(out: str | os.PathLike, listed: Sequence[Listed]) -> None:
    """Writes the manifest, with folders where a tracklet is all of one and lists of frames elsewhere.

    Raises:
      ValueError: the file's name ends in neither .csv nor .jsonl.
      OSError: it cannot be written.
    """
    path = pathlib.Path(out)
    rows = []
    for one in listed:
        row: dict[str, str | list[str]] = dict(tracklet=one.name, pid=one.pid, camera=one.camera, role=one.role)
        if one.whole:
            row['folder'] = _told(one.folder) or '.'
        else:
            row['frames'] = [_told(f'{one.folder}/{name}' if one.folder else name) for name in one.frames]
        rows.append(row)
    match path.suffix.lower():
        case '.jsonl':
            text = ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
        case '.csv':
            barred = next((f for row in rows for f in row.get('frames', ()) if '|' in f), None)
            if barred:
                raise ValueError(f"{barred!r} has a '|', which separates frames in a .csv file; write a .jsonl file.")
            columns = [*manifest.COLUMNS, *(c for c in ('folder', 'frames') if any(c in row for row in rows))]
            buffer = io.StringIO(newline='')
            table = csv.DictWriter(buffer, columns, restval='', lineterminator='\n')
            table.writeheader()
            for row in rows:
                table.writerow({k: '|'.join(v) if isinstance(v, list) else v for k, v in row.items()})
            text = buffer.getvalue()
        case suffix:
            raise ValueError(f'{path} ends in {suffix!r}; a manifest is a .csv or a .jsonl file.')
    atomic.write(path, text)


def _told(path: str) -> str:
    """A path that is there as the reader takes it: one like a home or a drive is said to be in this folder."""
    return paths.relative(f'./{path}') if path else ''


def run(argv: Sequence[str]) -> str:
    """Does what the command line asks for; returns what to print."""
    parser = commands.parser('manifest', __doc__)
    parser.add_argument('folder', help='searched for images')
    parser.add_argument('out', type=pathlib.Path, help='the manifest: .csv or .jsonl')
    parser.add_argument('--pattern', required=True, help='regular expression for the path of an image below FOLDER')
    parser.add_argument('--role', choices=manifest.ROLES, help='of all tracklets')
    parser.add_argument('--test-share', type=float, help='of the people whom two cameras saw; 0.5 by default')
    parser.add_argument('--skip-others', action='store_true', help='leave out images that the pattern does not fit')
    options = parser.parse_args(argv)
    listed = find(options.folder, options.pattern, skip_others=options.skip_others)
    if any(one.role for one in listed) or '(?P<role>' in options.pattern:
        if options.role or options.test_share is not None:
            raise ValueError('--pattern names a role already; leave out --role and --test-share.')
    elif options.role:
        if options.test_share is not None:
            raise ValueError('--role gives all tracklets one role; leave out --test-share.')
        listed = [one._replace(role=options.role) for one in listed]
    else:
        listed = draw_roles(listed, test_share=0.5 if options.test_share is None else options.test_share)
    write(options.out, listed)
    folder = os.path.abspath(os.path.expanduser(options.folder))
    elsewhere = folder != os.path.dirname(os.path.abspath(options.out))
    dataset = manifest.read(options.out, frames_root=folder)  # what is wrong with it is said now
    roles = {role: sum(one.role == role for one in listed) for role in manifest.ROLES}
    settings = [f'--config.data.root={options.out}', *([f'--config.data.frames_root={folder}'] * elsewhere)]
    return (
        f'{options.out}: {len(listed)} tracklets, {sum(len(one.frames) for one in listed)} images, '
        f'{len({one.pid for one in listed if not _NOBODY.fullmatch(one.pid)})} people, '
        f'{len({one.camera for one in listed})} cameras\n'
        f'  {", ".join(f"{count} {role}" for role, count in roles.items() if count)}; '
        f'{len({one.pid for one in dataset.train})} people to train on\n' + _what_next(roles, settings)
    )


def _what_next(roles: Mapping[str, int], settings: list[str]) -> str:
    """The command that does what tracklets of these roles are for, with a note where it is not the usual one."""
    start = ['python', '-m', 'jaxreid.main']
    tested = roles['query'] or roles['query+gallery']
    if not roles['train']:
        small = not os.path.isdir('runs/strf_manifest') and os.path.isdir('runs/strf_manifest-small')
        trained = ['--checkpoint', f'runs/strf_manifest{"-small" * small}', '--config', _CONFIG + ':small' * small]
        return shlex.join([*start, '--mode', 'eval' if tested else 'extract', *trained, *settings])
    note, name = '', _CONFIG
    try:
        imagenet.find('')
    except ValueError:
        name += ':small'
        note = (
            f'There are no ImageNet weights in {imagenet.cache_folder()}: this trains a small network from a random '
            'start.\ndocs/weights.md says how to get them; then leave out :small.\n'
        )
    settings = [*([] if tested else ['--config.data.part=validation']), *settings]
    experiment = command_line.read_config(name, settings)
    people = _people_of_a_batch(experiment)
    if not people:
        return 'These are too few people and tracklets to train on: a batch needs two people at least.'
    usual = command_line.read_config(name, settings).sampler.num_ids
    fewer = [f'--config.sampler.num_ids={people}'] * (people < usual)
    return note + shlex.join([*start, '--config', name, *fewer, *settings])


def _people_of_a_batch(experiment: config.Experiment) -> int:
    """The most people, up to those of the config, that batches can be drawn of; 0 for none."""
    try:
        tracklets = source.read(experiment.data).train
    except ValueError:  # none are left where some are held out
        return 0
    for people in range(experiment.sampler.num_ids, 1, -1):
        experiment.sampler.num_ids = people
        try:
            train_pipeline.sampler(tracklets, experiment)
        except ValueError:
            continue
        return people
    return 0


if __name__ == '__main__':
    sys.exit(exit_status.run(lambda: print(run(sys.argv[1:]))))
