"""No input decides where something is written: every reader of paths is given ones that lead out of their folder."""

import functools
import gzip
import json

import fsspec
import numpy as np
import pytest

from data_pipelines import build
from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import manifest
from jaxreid.data.flow import file as flow_file
from jaxreid.data.stores import record_files, record_index
from tests.fixtures import mars_folder as mars_fixture

OUT = ('../escaped', 'a/../../escaped', '/escaped', '~/escaped', 'a\0b', 'C:escaped')
REFUSED = r'leaves the folder|holds the character|path inside the data set|no path|letters and digits|halves'


def of_a_table(place, name, column='frames'):
    row = {'tracklet': 'a', 'pid': 1, 'camera': 1, 'role': 'train', column: name}
    (place / 'm.jsonl').write_text(json.dumps(row))
    manifest.read(place / 'm.jsonl')


def of_flow(place, name):
    flow_file.path(str(place / 'flow'), name, 'b.jpg', height=4, width=4, engine='opencv')


def of_the_files_of_a_record_set(place, name):
    (place / 'records').mkdir()
    (place / 'records' / record_files.MANIFEST).write_text(json.dumps({name: 3}))
    record_files.open_set(str(place / 'records'))


def changed_index(change):
    def read(place, name):
        build.build('mars', str(mars_fixture.write(place / 'mars')), str(place / 'records'), frames_per_shard=20)
        data = (place / 'records' / 'mars' / '1.0.0' / record_index.FILE).read_bytes()
        lines = [json.loads(line) for line in gzip.decompress(data).splitlines()]
        change(lines, name)
        record_index.from_bytes(gzip.compress('\n'.join(map(json.dumps, lines)).encode()), folder='records')

    return read


def parts(lines, name):
    lines[0]['parts'] = {name if part == 'train' else part: count for part, count in lines[0]['parts'].items()}


def frames(lines, name):
    lines[1]['prefix'] = ''
    lines[1]['frames'][0] = name


READERS = {
    'a table': of_a_table,
    'a folder in a table': functools.partial(of_a_table, column='folder'),
    'a pattern in a table': lambda place, name: of_a_table(place, name + '/*.jpg', column='glob'),
    'flow': of_flow,
    'the files of a record set': of_the_files_of_a_record_set,
    'the parts of a record set': changed_index(parts),
    'the frames of a record set': changed_index(frames),
}


@pytest.mark.parametrize('name', OUT)
@pytest.mark.parametrize('reader', list(READERS))
def test_a_path_that_leads_out_is_refused_by_every_reader(tmp_path, reader, name):
    place = tmp_path / 'in'
    place.mkdir()
    with pytest.raises(ValueError, match=REFUSED):
        READERS[reader](place, name)
    assert [path.name for path in tmp_path.iterdir()] == ['in']


def test_a_remote_record_set_writes_into_its_cache_only(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'a' / 'b' / 'cache'))
    source._records.cache_clear()
    build.build('mars', str(mars_fixture.write(tmp_path / 'mars')), 'memory://hostile', frames_per_shard=20)
    files = fsspec.filesystem('memory')
    folder = '/hostile/mars/1.0.0'
    lines = [json.loads(line) for line in gzip.decompress(files.cat(f'{folder}/{record_index.FILE}')).splitlines()]
    parts(lines, '../../../../escaped')
    index = gzip.compress('\n'.join(map(json.dumps, lines)).encode())
    files.pipe(f'{folder}/{record_index.FILE}', index)
    sizes = json.loads(files.cat(f'{folder}/{record_files.MANIFEST}')) | {record_index.FILE: len(index)}
    for name in [name for name in sizes if '-train' in name]:
        other = name.replace('-train', '-../../../../escaped')
        sizes[other] = sizes.pop(name)
        files.pipe(f'{folder}/{other}', files.cat(f'{folder}/{name}'))
    files.pipe(f'{folder}/{record_files.MANIFEST}', json.dumps(sizes).encode())
    before = {path for path in tmp_path.rglob('*') if 'cache' not in path.parts}
    data = config.Data(dataset='mars', store='records', records='memory://hostile', height=16, width=8)
    with pytest.raises((ValueError, OSError)):
        source.store(data, source.read(data), split='train').read(0, np.arange(2))
    assert {path for path in tmp_path.rglob('*') if 'cache' not in path.parts} == before


def test_settings_of_a_feature_file_have_nothing_written(tmp_path):
    settings = functools.partial(config.to_dict, config.Experiment(backbone=config.Backbone(init='random')))
    data = settings()['data']
    flow = settings() | {'data': data | {'flow_folder': str(tmp_path / 'flow'), 'root': str(tmp_path)}}
    assert source.of_settings(flow).data.flow_folder == ''
    rendered = settings() | {'data': data | {'dataset': 'synthetic', 'root': str(tmp_path / 'new'), 'preset': 'tiny'}}
    with pytest.raises(ValueError, match='holds no rendered benchmark'):
        source.of_settings(rendered)
    for wrong in ([], {'data': 3}, settings() | {'data': data | {'height': 2**31}}, {'nonsense': {'a': 1}}):
        with pytest.raises(ValueError):
            source.of_settings(wrong)
    assert list(tmp_path.iterdir()) == []
