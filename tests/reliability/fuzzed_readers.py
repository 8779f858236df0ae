"""Every reader is given whole files that were changed: it answers, or says in one line what is wrong.

`python -m tests.reliability fuzz` runs it. What a reader may do with a file, however it was changed: give its
contents, or raise ValueError or OSError (ImportError of an extra that is not there) with a message that names it. It
may take 30 s of CPU and 512 MiB more than the file is long; the process has limits beyond which it ends. Nothing
outside of the reader's folder changes.
"""

import contextlib
import functools
import gzip
import hashlib
import importlib.util
import io
import json
import os
import pathlib
import pickle
import resource
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable
from typing import NamedTuple

import cv2
import hypothesis
import numpy as np
import safetensors.numpy
from hypothesis import strategies as st
from PIL import Image

from data_pipelines import build
from jaxreid import command_line, config
from jaxreid.api import embedder
from jaxreid.data import source
from jaxreid.data.datasets import manifest, matlab
from jaxreid.data.flow import file as flow_file
from jaxreid.data.flow import owner as flow_owner
from jaxreid.data.stores import folder_store, record_files, record_index, record_store
from jaxreid.data.synthetic import plan
from jaxreid.data.tracklets import frame_decode
from jaxreid.evaluation import calibration, feature_file, features, results
from jaxreid.from_video import cut, mot_file
from jaxreid.process import digest, metrics_log
from jaxreid.search import calibration_file, gallery, sources, tracklets
from jaxreid.weights import import_torch, state_file
from tests.fixtures import feature_files
from tests.fixtures import mars_folder as mars_fixture

EXPECTED = ValueError, OSError, ImportError
SECONDS, GROWTH = 30, 2**29
LIMIT = 2**32  # of addresses, beyond those that the process has at its start
HOSTILE = [
    None, True, False, 0, -1, 1.5, 2**31, 2**63, -(2**63), 10**20, 10**400, 1e308, float('nan'), float('inf'), '', 'x',
    'x' * 10000, '../../escaped', '/escaped', 'a\0b', '\ud800', '14:05', '7.0', [], {}, [[]], [None], {'': None},
    [1, 'a'], {'a': {'b': []}}, [[0] * 9] * 9, '/dev/zero',
]  # fmt: skip
WORDS = [
    b'\0' * 4,
    b'\xff' * 4,
    b'\xff\xff\xff\x7f',
    b'\0\0\0\x80',
    b'\x7f\xff\xff\xff',
    b'\0\0\0\1',
    b'\xff' * 8,
    b'\0' * 40,
]
WORDS += [
    b'nan',
    b'-1',
    b'1e400',
    b'99999999999',
    b'"',
    b',',
    b'\n',
    b'{',
    b'[' * 3000,
    b'../',
    b'\xc3',
    b'\xed\xa0\x80',
]


class Reader(NamedTuple):
    """files: whole ones. read: what is done with a changed one, by its path. changed: how files are changed."""

    files: list[bytes]
    read: Callable[[pathlib.Path], object]
    suffix: str
    changed: Callable[[bytes, st.DataObject], bytes]
    named: bool = True  # whether it is told the path, and so can name it


def changed_bytes(whole: bytes, data: st.DataObject) -> bytes:
    """With a few pieces cut out, repeated, put in or replaced."""
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        until = min(len(content), at + data.draw(st.integers(0, 64) | st.integers(0, len(content))))
        match data.draw(st.sampled_from(['cut', 'byte', 'word', 'insert', 'repeat', 'end', 'zeros'])):
            case 'cut':
                del content[at:until]
            case 'byte':
                content[at : at + 1] = data.draw(st.binary(min_size=1, max_size=1))
            case 'word':
                word = data.draw(st.sampled_from(WORDS) | st.binary(min_size=1, max_size=8))
                content[at : at + len(word)] = word
            case 'insert':
                content[at:at] = data.draw(st.sampled_from(WORDS) | st.binary(max_size=64))
            case 'repeat':
                content[at:at] = content[at:until]
            case 'end':
                del content[at:]
            case 'zeros':
                content[at:until] = bytes(until - at)
    return bytes(content)


def changed_value(value: object, data: st.DataObject) -> object:
    """A value of JSON of which something, somewhere, is another."""
    inside = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else [])
    if not inside or data.draw(st.integers(0, 3 + len(inside))) == 0:
        return data.draw(st.sampled_from(HOSTILE))
    key, one = data.draw(st.sampled_from(inside))
    made = dict(value) if isinstance(value, dict) else list(value)  # type: ignore[call-overload]
    match data.draw(st.sampled_from(['into', 'into', 'into', 'remove', 'replace'])):
        case 'into':
            made[key] = changed_value(one, data)
        case 'replace':
            made[key] = data.draw(st.sampled_from(HOSTILE))
        case 'remove':
            del made[key]
    return made


def changed_json(whole: bytes, data: st.DataObject, *, sign: bool = False) -> bytes:
    """Values, or bytes; `sign`: with the digest that a changed value has."""
    if data.draw(st.integers(0, 3)) == 0:
        return changed_bytes(whole, data)
    value = changed_value(json.loads(whole), data)
    if sign and isinstance(value, dict):
        value = digest.signed({k: v for k, v in value.items() if not k.startswith('crc32')})
    return json.dumps(value).encode()


def changed_lines(whole: bytes, data: st.DataObject) -> bytes:
    """Of a file with a value a line."""
    if data.draw(st.integers(0, 3)) == 0:
        return changed_bytes(whole, data)
    lines = whole.splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = json.dumps(changed_value(json.loads(lines[at]), data)).encode()
    return b'\n'.join(lines) + b'\n'


def changed_gzip(whole: bytes, data: st.DataObject) -> bytes:
    if data.draw(st.integers(0, 3)) == 0:
        return changed_bytes(whole, data)
    return gzip.compress(changed_lines(gzip.decompress(whole), data), compresslevel=1)


def changed_archive(whole: bytes, data: st.DataObject) -> bytes:
    """A part of a .zip with the sums that it then has, or the archive."""
    if data.draw(st.integers(0, 3)) == 0:
        return changed_bytes(whole, data)
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    parts[name] = changed_bytes(parts[name], data)
    made = io.BytesIO()
    with zipfile.ZipFile(made, 'w', data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return made.getvalue()


def changed_safetensors(whole: bytes, data: st.DataObject) -> bytes:
    if data.draw(st.booleans()):
        return changed_bytes(whole, data)
    length = int.from_bytes(whole[:8], 'little')
    header = json.dumps(changed_value(json.loads(whole[8 : 8 + length]), data)).encode()
    return len(header).to_bytes(8, 'little') + header + whole[8 + length :]


# Whole files.


def images() -> list[bytes]:
    coarse = np.random.default_rng(3).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    photo = cv2.resize(coarse, (24, 48), interpolation=cv2.INTER_CUBIC)
    files = []
    for kind, options in (
        ('JPEG', {}), ('JPEG', {'progressive': True}), ('JPEG', {'restart_marker_rows': 1}), ('PNG', {}), ('GIF', {}),
        ('BMP', {}), ('WEBP', {}), ('WEBP', {'lossless': True}), ('TIFF', {}), ('TIFF', {'compression': 'tiff_lzw'}),
        ('JPEG2000', {}), ('PPM', {}), ('AVIF', {}),
    ):  # fmt: skip
        file = io.BytesIO()
        Image.fromarray(photo).save(file, kind, **options)
        files.append(file.getvalue())
    grey = photo[..., 0]
    wide = (('.png', grey.astype(np.uint16) * 16), ('.tiff', grey.astype(np.float32) / 255))
    return files + [cv2.imencode(suffix, image)[1].tobytes() for suffix, image in wide]


def read_image(path: pathlib.Path) -> None:
    frame_decode.decode_as_stored(path.read_bytes())


def feature_archives(place: pathlib.Path) -> list[bytes]:
    whole = feature_files.features(root=str(place))
    whole.meta.update(clips='rrs', frames_per_clip=4, network='ab12', pid_names={'1': 'ann'}, step=3)
    times = np.array(['2026-11-21T14:05', '12.5', ''] * len(whole.pid))[: len(whole.pid)]
    whole = feature_file.dataclasses.replace(whole, time=times, attributes={'outfit': np.array(['a'] * len(whole.pid))})
    whole.save(place / 'whole.npz')
    files = [(place / 'whole.npz').read_bytes()]
    for meta in (whole.meta, *feature_files.FOREIGN):
        files.append(_npz(place, whole, json.dumps(meta)))
    return files


def _npz(place, whole, meta):
    arrays = {key: getattr(whole, key) for key in ('embedding', 'pid', 'camera', 'query', 'gallery', 'name', 'frames')}
    np.savez(place / 'some.npz', **arrays, meta=np.array(meta))
    return (place / 'some.npz').read_bytes()


def read_features(path: pathlib.Path) -> None:
    found = feature_file.load(path, roles=False)
    with warnings.catch_warnings(action='ignore'):
        opened = sources.open_any(str(path), 'gallery', None)
    tracklets.moments(opened)
    [tracklets.who(opened, row) for row in range(len(opened))]
    with contextlib.suppress(ValueError):  # what a search does without
        source.of_settings(found.meta.get('config'))
    features.feature_file.read_meta(path)


def changed_features(whole: bytes, data: st.DataObject) -> bytes:
    """Metadata of other kinds, or parts of the archive."""
    if data.draw(st.booleans()):
        return changed_archive(whole, data)
    with np.load(io.BytesIO(whole)) as file:
        arrays = {name: file[name] for name in file.files}
    if data.draw(st.booleans()) or 'meta' not in arrays:
        name = data.draw(st.sampled_from(sorted(arrays)))
        kinds = [np.float16, np.int8, np.uint64, bool, 'U1', 'S9', complex, 'M8[s]']
        with warnings.catch_warnings(action='ignore'):
            kind = data.draw(st.sampled_from(kinds))
            arrays[name] = data.draw(st.sampled_from([
                lambda a: a[:1] if a.ndim else a, lambda a: a[..., None], lambda a: np.zeros(a.shape, kind),
                lambda a: np.full(a.shape, np.nan), lambda a: np.repeat(a, 2) if a.ndim else a,
            ]))(arrays[name])  # fmt: skip
    else:
        value = changed_value(json.loads(arrays['meta'].item()), data)
        arrays['meta'] = np.array(json.dumps(value))
    made = io.BytesIO()
    np.savez(made, **arrays)
    return made.getvalue()


def tables() -> list[bytes]:
    csv = (
        'tracklet,pid,camera,role,frames,time,attr:outfit\n'
        'a,1,1,train,x/1.jpg|x/2.jpg,14:05,coat\nb,7.0,2,query,x/3.jpg,,\n"c",ann,3,gallery,x/4.jpg,73.5,hat\n'
    )
    return [csv.encode(), ('\ufeff' + csv.replace('7.0', '7')).encode('utf-8')]


def table_of_lines() -> list[bytes]:
    rows = [
        {'tracklet': 'a', 'pid': 1, 'camera': 1, 'role': 'train', 'frames': ['x/1.jpg', 'x/2.jpg'], 'attr:x': 'y'},
        {'tracklet': 'b', 'pid': 'ann', 'camera': 2, 'role': 'query+gallery', 'folder': 'y', 'time': '14:05'},
        {'tracklet': 'c', 'pid': -1, 'camera': 2, 'role': 'gallery', 'glob': 'z/*.jpg'},
    ]
    return ['\n'.join(map(json.dumps, rows)).encode() + b'\n']


def read_table(path: pathlib.Path) -> None:
    for name in ('x/1', 'x/2', 'x/3', 'x/4', 'y/1', 'z/1'):
        (path.parent / name).parent.mkdir(exist_ok=True)
        (path.parent / f'{name}.jpg').touch()
    with warnings.catch_warnings(action='ignore'):
        manifest.read(path)


def read_metrics(path: pathlib.Path) -> None:
    path = path.rename(path.with_name('metrics.jsonl'))
    with contextlib.suppress(ValueError):
        metrics_log.read(path.parent)
    metrics_log.MetricsLog(path.parent, start_step=3).close()


def galleries(place: pathlib.Path) -> dict[str, bytes]:
    """File below a gallery -> its bytes."""
    feature_files.features(with_config=False).save(place / 'g.npz')
    gallery.append(place / 'gallery', sources.open_any(str(place / 'g.npz'), 'gallery', None))
    return {
        path.relative_to(place / 'gallery').as_posix(): path.read_bytes()
        for path in sorted((place / 'gallery').rglob('*'))
        if path.is_file() and path.name != '.lock'
    }


def read_gallery(parts: dict[str, bytes], part: str, path: pathlib.Path) -> None:
    folder = path.parent / 'gallery'
    for name, content in (parts | {part: path.read_bytes()}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    opened = gallery.open_folder(folder)
    opened.features.read(0, len(opened))
    opened.film(len(opened) - 1)
    tracklets.moments(opened)


def read_shard(parts: dict[str, bytes], index: record_index.Index, path: pathlib.Path) -> None:
    """The frames of a record set one shard of which was changed."""
    shard = index.shards(index.dataset)[0]
    for name, content in parts.items():
        (path.parent / name).write_bytes(content)
    content = path.read_bytes()[: len(parts[shard.name])]
    (path.parent / shard.name).write_bytes(content + bytes(len(parts[shard.name]) - len(content)))
    files = record_files.open_set(str(path.parent))
    rows = index.tracklets[: index.parts['train']]
    how = folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt='skip_frame')
    record_store.RecordStore(files, index, rows, how).read(0, np.arange(3))


def read_index(path: pathlib.Path) -> None:
    index = record_index.from_bytes(path.read_bytes(), folder=str(path.parent))
    index.shards(index.dataset)
    data = config.Data(dataset='mars')
    record_index.to_dataset(index, data, folder=str(path.parent), root='here')


def read_set(path: pathlib.Path) -> None:
    for name in ('a', 'b'):
        (path.parent / name).write_bytes(b'xyz')
    path.rename(path.with_name(record_files.MANIFEST))
    files = record_files.open_set(str(path.parent))
    [files.path(name) for name in files.sizes]


def read_owner(path: pathlib.Path) -> None:
    path.rename(path.with_name(flow_owner.FILE))
    flow_owner.check(str(path.parent), ['a.jpg'], lambda name: b'xyz', dataset='mars', root='here')


def read_description(path: pathlib.Path) -> None:
    (path.parent / 'info').mkdir(exist_ok=True)
    path.rename(path.parent / plan.DESCRIPTION)
    plan.read(path.parent)


def read_weights(path: pathlib.Path) -> None:
    with warnings.catch_warnings(action='ignore'):
        import_torch.settings(state_file.read(path), 'stmn')


def torch_files() -> list[bytes]:
    import torch

    whole = {'layer1.0.conv1.weight': torch.ones(4, 4, 1, 1), 'bn1.bias': torch.zeros(4), 7: torch.ones(2)}
    whole['expanded'] = torch.ones(1).expand(10**11)
    whole['sparse'] = torch.eye(3).to_sparse()
    whole['parameter'] = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
    files = []
    for kept in ([0, 1], [0, 1, 2], [0, 3], [0, 4], [0, 5]):
        for new in (True, False):
            file = io.BytesIO()
            some = {name: value for i, (name, value) in enumerate(whole.items()) if i in kept}
            torch.save({'state_dict': some}, file, _use_new_zipfile_serialization=new)
            files.append(file.getvalue())
    return [*files, pickle.dumps({'a': np.ones(3)})]


def calibrations() -> list[bytes]:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, 60)
    distances = -rng.uniform(-0.5, 0.9, (40, 60)).astype(np.float32)
    found = calibration.collect(distances, ids[:40], np.ones(40, int), ids, np.full(60, 2), low=-1.001, high=1.001)
    return [json.dumps({'distance': 'cosine', 'network': 'ab12'} | calibration.calibrate(found)).encode()]


def read_calibration(path: pathlib.Path) -> None:
    found = calibration_file.read(str(path))
    for text in ('0.5', '1%', '0.1%'):
        calibration_file.threshold(text, found)
    calibration_file.words(found, calibration_file.false_accept_rate(found, 0.5))
    calibration_file.check_belongs(found, {'distance': found.distance})


def read_settings(path: pathlib.Path) -> None:
    source.of_settings(json.loads(path.read_bytes()))


def read_config(path: pathlib.Path) -> None:
    with warnings.catch_warnings(action='ignore'):
        command_line.read_config(str(path), ('--config.data.height=64',))


CONFIG = b"""from jaxreid import config

def get_config(variant='a'):
    made = config.Experiment(system='star', strf=config.Strf(stages=()))
    made.data.height, made.data.width, made.data.flow = 256, 128, 'tvl1'
    made.backbone.block, made.backbone.depths = 'c2d', (3, 4, 6, 3)
    made.star.pyramid_levels = (1, 2, 4)
    made.optim.lr = 3e-4
    return made
"""


def changed_config(whole: bytes, data: st.DataObject) -> bytes:
    """Values of settings, or bytes of the text."""
    if data.draw(st.integers(0, 2)) == 0:
        return changed_bytes(whole, data)
    path = data.draw(st.sampled_from(sorted(config.settings())))
    value = data.draw(st.sampled_from([*HOSTILE, (0,), (1, 1), (10**20,), ('x',), (), ((),)]))
    text = repr(value).replace('nan', "float('nan')").replace('inf', "float('inf')")
    return whole.replace(b'    return made', f'    made.{path} = {text}\n    return made'.encode('utf-8', 'replace'))


def films(place: pathlib.Path) -> list[bytes]:
    made = []
    for suffix, codec in (('.avi', 'MJPG'), ('.mp4', 'mp4v')):
        writer = cv2.VideoWriter(str(place / f'v{suffix}'), cv2.VideoWriter_fourcc(*codec), 10, (64, 48))
        for frame in range(6):
            writer.write(np.random.default_rng(frame).integers(0, 255, (48, 64, 3), np.uint8))
        writer.release()
        made.append((place / f'v{suffix}').read_bytes())
    return made


def read_film(path: pathlib.Path) -> None:
    boxes = path.with_name('boxes.txt')
    boxes.write_text('1,3,10,5,16,32,1\n2,3,11,5,16,32,1\n')
    cut.cut(path, path.parent / 'out', min_frames=1, detections=boxes)


def readers(place: pathlib.Path) -> dict[str, Reader]:
    """All of them; whole files are made in `place`."""
    build.build('mars', str(mars_fixture.write(place / 'mars')), str(place / 'records'), frames_per_shard=20)
    records = {path.name: path.read_bytes() for path in (place / 'records/mars/1.0.0').iterdir()}
    index = record_index.from_bytes(records[record_index.FILE], folder='records')
    shard = index.shards(index.dataset)[0].name
    gallery_parts = galleries(place)
    settings = json.dumps(config.to_dict(command_line.read_config('strf_synthetic'))).encode()
    flow = io.BytesIO()
    np.save(flow, np.ones((4, 6, 2), np.float16))
    tensors = safetensors.numpy.save(
        {'layer1.0.conv1.weight': np.ones((4, 4, 1, 1)), 'bn1.bias': np.zeros(4, np.int64)}
    )
    row = {'step': 3, 'selected': 'last step', 'protocol': {'name': 'mars-paper'}, 'mAP': 50.0, 'cmc': {'1': 60.0}}
    owner = json.dumps(
        {'dataset': 'mars', 'root': 'here', 'frames': {'a.jpg': hashlib.sha256(b'xyz').hexdigest()}}
    ).encode()
    drawn = json.dumps(plan.make_plan(plan.PRESETS['tiny']).to_json()).encode()
    exported = {
        'format': 'stablehlo', 'config': config.to_dict(config.Experiment()), 'inside': {'neck': 'after'},
        'inputs': [{'name': 'clips', 'shape': ['B', 4, 256, 128, 3], 'dtype': 'uint8', 'meaning': 'x'}],
    }  # fmt: skip
    log = b'{"step": 1, "loss": 2.5}\n{"step": 3}\n{"step": 9}\n'
    mot = b'1,-1,10,10,20,40,0.9\n2,-1,12,10,20,40,0.8,1,1\n9,-1,1e1,2.5,3,4\n'
    signed = functools.partial(changed_json, sign=True)
    lines = {'.json': signed, '.jsonl': changed_lines}
    made = {
        'images': Reader(images(), read_image, '.jpg', changed_bytes, named=False),
        'feature files': Reader(feature_archives(place), read_features, '.npz', changed_features),
        'tables (.csv)': Reader(tables(), read_table, '.csv', changed_bytes),
        'tables (.jsonl)': Reader(table_of_lines(), read_table, '.jsonl', changed_lines),
        'boxes': Reader([mot, mot.replace(b'-1', b'3')], lambda p: mot_file.read(p), '.txt', changed_bytes),
        'films': Reader(films(place), read_film, '.avi', changed_bytes),
        'indexes of records': Reader([records[record_index.FILE]], read_index, '.gz', changed_gzip),
        'lists of record files': Reader([b'{"a": 3, "b": [3, "eb8eba67"]}'], read_set, '.json', changed_json),
        'records': Reader([records[shard]], functools.partial(read_shard, records, index), '.bin', changed_bytes),
        'flow': Reader([flow.getvalue()], lambda p: flow_file.read(p, height=4, width=6), '.npy', changed_bytes),
        'owners of flow': Reader([owner], read_owner, '.json', changed_json),
        'rendered benchmarks': Reader([drawn], read_description, '.json', changed_json),
        'lists of MATLAB': Reader(
            [(place / 'mars/info/tracks_test_info.mat').read_bytes()],
            lambda p: matlab.read(p, 'track_test_info'),
            '.mat',
            changed_bytes,
        ),
        'results': Reader([json.dumps([row, row]).encode()], lambda p: results.append(p, [row]), '.json', changed_json),
        'logs': Reader([log], read_metrics, '.jsonl', changed_lines),
        'calibrations': Reader(calibrations(), read_calibration, '.json', signed),
        'safetensors': Reader([tensors], read_weights, '.safetensors', changed_safetensors),
        'settings': Reader([settings], read_settings, '.json', changed_value_of_json, named=False),
        'config files': Reader([CONFIG], read_config, '.py', changed_config, named=False),
        'exported networks': Reader([json.dumps(exported).encode()], read_exported, '.json', signed),
    }  # fmt: skip
    for part, content in gallery_parts.items():
        read = functools.partial(read_gallery, gallery_parts, part)
        changed = lines.get(pathlib.Path(part).suffix, changed_bytes)
        made[f'galleries: {part.rpartition("/")[2]}'] = Reader([content], read, '.bin', changed)
    if importlib.util.find_spec('torch'):
        made['PyTorch files'] = Reader(torch_files(), read_weights, '.pth', changed_archive_or_bytes)
    return made


def changed_value_of_json(whole: bytes, data: st.DataObject) -> bytes:
    return json.dumps(changed_value(json.loads(whole), data)).encode()


def changed_archive_or_bytes(whole: bytes, data: st.DataObject) -> bytes:
    return (changed_archive if zipfile.is_zipfile(io.BytesIO(whole)) else changed_bytes)(whole, data)


def read_exported(path: pathlib.Path) -> None:
    path.rename(path.with_name('model.json'))
    try:
        embedder._load_exported(path.parent)
    except FileNotFoundError as e:  # its description was believed
        if 'model.stablehlo' not in str(e):
            raise


# The trials.


class TooLong(BaseException):
    """Past SECONDS."""


class Fault(AssertionError):
    """What a reader must not do."""


def peak() -> int:
    """Bytes, the most that this process had at a time since `forget`."""
    status = pathlib.Path('/proc/self/status').read_text()
    return 1024 * int(status.split('VmHWM:')[1].split()[0])


def forget() -> int:
    """Begins to measure `peak` anew; returns what there is now."""
    pathlib.Path('/proc/self/clear_refs').write_text('5')
    return peak()


def trial(reader: Reader, folder: pathlib.Path, content: bytes) -> str:
    """What the reader said when it refused the content; '' where it read it.

    Raises:
      Fault: it did what it must not.
    """
    with tempfile.TemporaryDirectory(dir=folder) as inside:
        place = pathlib.Path(inside, 'in')
        place.mkdir()
        path = place / f'file{reader.suffix}'
        path.write_bytes(content)
        before, refused = forget(), ''
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            reader.read(path)
        except EXPECTED as e:
            refused = f'{type(e).__name__}: {str(e)[:300]}'
            if reader.named and inside not in str(e):
                raise Fault(f'does not say which file is wrong: {refused}') from e
        except TooLong as e:
            raise Fault(f'took more than {SECONDS} s') from e
        except Exception as e:
            raise Fault(f'raised {type(e).__name__}: {str(e)[:200]}') from e
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if (grown := peak() - before) > GROWTH + len(content):
            raise Fault(f'took {grown >> 20} MiB for {len(content)} bytes')
        if sorted(os.listdir(inside)) != ['in'] or len(os.listdir(folder)) != 1:
            raise Fault('wrote outside of its folder')
    return refused


def fuzz(reader: Reader, folder: pathlib.Path, tries: int, seed: int) -> dict[str, object]:
    """Counts of a reader, and the first faults in their smallest forms."""
    count = {'tried': 0, 'refused': 0}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=tries, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(st.data())
    def one(data):
        content = reader.changed(data.draw(st.sampled_from(reader.files)), data)
        count['tried'] += 1
        count['refused'] += bool(trial(reader, folder, content))

    if said := trial(reader, folder, reader.files[0]):
        return {**count, 'fault': f'a whole file is refused: {said}'}
    try:
        one()
    except (Fault, BaseExceptionGroup) as e:
        faults = e.exceptions if isinstance(e, BaseExceptionGroup) else [e]
        told = [f'{one}: {traceback.extract_tb((one.__cause__ or one).__traceback__)[-3:]}' for one in faults]
        return {**count, 'fault': '\n'.join(told)}
    return {**count, 'fault': ''}


def too_long(*_: object) -> None:
    raise TooLong


def main(work: pathlib.Path, tries: int, seed: int) -> None:
    """Tries so many files in all; prints a line of JSON for each reader."""
    signal.signal(signal.SIGPROF, too_long)
    made, folder = work / 'made', work / 'tried'
    made.mkdir()
    folder.mkdir()
    known = readers(made)
    now = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + LIMIT, now + LIMIT))
    for name, reader in known.items():
        print(json.dumps({'reader': name, **fuzz(reader, folder, -(-tries // len(known)), seed)}), flush=True)


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
