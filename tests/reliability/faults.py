"""Disks that are full, folders that are removed: the error names the file, nothing is half-written, the old is whole.

A limit on the size of files (RLIMIT_FSIZE) does to a write what a full disk does.
"""

import contextlib
import json
import resource
import shutil

import numpy as np

from data_pipelines import build
from jaxreid import config
from jaxreid.data import source
from jaxreid.data.synthetic import render
from jaxreid.process import atomic
from jaxreid.search import gallery
from jaxreid.training import checkpoint
from tests.fixtures import mars_folder
from tests.reliability import flips, kills, outcome


def rows(work, *, number, seed):
    """Each fault once."""
    del number, seed
    for what, act, said in FAULTS:
        folder = work / what.replace(' ', '-')
        folder.mkdir()
        yield outcome.Row(what, 1, said, act(folder))


@contextlib.contextmanager
def full(size):
    """No file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def refused(act, folder, *, names):
    """What is wrong with how an action ends on a full disk: unnoticed, nothing named, or a folder that is another."""
    before, problems = _files(folder), []
    try:
        with full(1000):
            act()
        problems.append('no error')
    except OSError as e:
        if names not in str(e) or len(str(e).splitlines()) != 1:
            problems.append(f'the error names nothing: {e}')
    after = _files(folder)
    return problems + [
        f'{name} changed' for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    ]


def _full_features(folder):
    flips.KINDS['a feature file'](folder)
    made = flips.feature_file.load(folder / 'features.npz')
    return refused(lambda: made.save(folder / 'features.npz'), folder, names='features.npz')


def _full_gallery(folder):
    gallery.append(folder, kills.some(0, 100))
    return refused(lambda: gallery.append(folder, kills.some(100, 100)), folder, names=str(folder))


def _full_results(folder):
    atomic.write_json(folder / 'results.json', [1, 2])
    return refused(lambda: atomic.write_json(folder / 'results.json', ['x' * 2000]), folder, names='results.json')


def _full_records(folder):
    root = mars_folder.write(folder.with_name(folder.name + '-mars'))
    problems = refused(lambda: build.build('mars', str(root), str(folder)), folder, names=str(folder))
    begun = _files(folder)
    build.build('mars', str(root), str(folder))  # there is space again
    whole_ones = [name for name, data in begun.items() if _files(folder)[name] == data]
    return [one for one in problems if one.removesuffix(' changed') not in map(str, whole_ones)]


def _removed_workdir(folder):
    kept = checkpoint.Checkpoints(folder / 'run' / 'checkpoints', keep=2)
    shutil.rmtree(folder / 'run')
    try:
        kept.save(1, {'params': {'bias': np.ones(3)}}, {'config': {}, 'labels': {}})
        return ['no error']
    except checkpoint.CheckpointError as e:
        return [] if 'was removed' in str(e) and 'MiB' not in str(e) else [str(e)]


def _removed_frames(folder):
    root = render.ensure(folder / 'data', 'tiny', workers=1, progress=False)
    before = _files(root)
    for frame in sorted(root.rglob('*.jpg'))[::40]:
        frame.unlink()
    source.read(config.Data(dataset='synthetic', root=str(root), preset='tiny'))
    return [] if _files(root) == before else ['other frames than before']


def _frame_vanishes(folder):
    root = mars_folder.write(folder / 'mars')
    data = config.Data(dataset='mars', root=str(root), height=32, width=16)
    dataset = source.read(data)
    store = source.store(data, dataset, split='test')
    frame = root / dataset.test[0].frames[0]
    frame.unlink()
    try:
        store.read(0, np.arange(2))
        return ['no error']
    except ValueError as e:
        return [] if str(frame) in str(e) else [str(e)]


def _two_runs(folder):
    with atomic.alone(folder, doing='training in'):
        try:
            with atomic.alone(folder, doing='training in'):
                return ['the second is let in']
        except OSError as e:
            return [] if 'process' in str(e) else [str(e)]


def _old_files(folder):
    """What was written before there were digests is read: feature files, galleries, flow, calibrations, exports."""
    problems = []
    for what in ('a gallery', 'stored flow', 'a calibration', 'an exported program'):
        place = folder / what.replace(' ', '-')
        place.mkdir()
        read = flips.KINDS[what](place)
        wanted = flips.as_text(read())
        for file in [path for path in place.rglob('*') if path.is_file()]:
            if file.suffix == '.json':
                value = json.loads(file.read_text())
                value.pop('crc32_of_the_rest')
                value.pop('files', None)
                file.write_text(json.dumps(value))
            elif file.name == 'rows.npy':
                file.unlink()
            elif file.name == 'flow.npy':
                np.save(file, np.load(file))
        now = read()
        if isinstance(now, tuple) and isinstance(now[0], dict):  # of an export, without the digests
            continue
        if flips.as_text(now) != wanted:
            problems.append(f'{what} reads otherwise')
    return problems


FAULTS = (
    ('full disk: features', _full_features, 'named, the old file is whole'),
    ('full disk: gallery', _full_gallery, 'named, the gallery is as it was'),
    ('full disk: results', _full_results, 'named, the old file is whole'),
    ('full disk: records', _full_records, 'named, nothing half-written'),
    ('workdir removed', _removed_workdir, 'named, not called a full disk'),
    ('rendered frames removed', _removed_frames, 'drawn again, the same bytes'),
    ('frame vanishes while read', _frame_vanishes, 'named'),
    ('two runs in one workdir', _two_runs, 'the second is refused'),
    ('files without digests', _old_files, 'read as before'),
)
