"""Records behind a URL: a file system of our own that counts, fails and is slow."""

import json
import pathlib
import shutil

import fsspec
import numpy as np
import pytest
from fsspec.implementations import memory

from data_pipelines import build
from jaxreid import config
from jaxreid.data import source
from jaxreid.data.stores import record_files, record_index
from tests.fixtures import mars_folder as mars_fixture


class Bucket(memory.MemoryFileSystem):
    """An object store in memory that notes what is read, and can lose the connection."""

    protocol = 'bucket'
    store = {}
    pseudo_dirs = ['']
    opened = []
    breaks = False

    def _open(self, path, mode='rb', **kwargs):
        file = super()._open(path, mode, **kwargs)
        if mode == 'rb':
            Bucket.opened.append(path.rpartition('/')[2])
            if Bucket.breaks:
                raise OSError('connection lost')
        return file


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Records in a bucket; settings that read them, and the folder's for comparison."""
    fsspec.register_implementation('bucket', Bucket, clobber=True)
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(Bucket, 'breaks', False)
    source._records.cache_clear()
    root = str(mars_fixture.write(tmp_path / 'mars'))
    url = f'bucket://{tmp_path.name}/records'
    build.build('mars', root, url, frames_per_shard=20)
    Bucket.opened.clear()
    size = {'dataset': 'mars', 'height': 16, 'width': 8}
    return config.Data(store='records', records=url, **size), config.Data(root=root, **size)


def shards():
    """What was fetched of the large files."""
    return [name for name in Bucket.opened if 'array_record' in name]


def assert_reads_as_the_folder(data, folder, rows=range(8)):
    dataset, expected = source.read(data), source.read(folder)
    assert (dataset.train, dataset.test) == (expected.train, expected.test)
    store, other = (source.store(d, s, split='train') for d, s in ((data, dataset), (folder, expected)))
    for row in rows:
        frames = np.arange(len(dataset.train[row].frames))
        np.testing.assert_array_equal(store.read(row, frames), other.read(row, frames))


def test_shards_are_fetched_when_asked_for_once_and_found_by_the_next_run(bucket):
    data, folder = bucket
    assert_reads_as_the_folder(data, folder, rows=[0, 1])
    assert shards() == ['mars-train.array_record-00000-of-00004']
    assert_reads_as_the_folder(data, folder)
    assert sorted(shards()) == [f'mars-train.array_record-0000{number}-of-00004' for number in range(4)]
    Bucket.opened.clear()
    source._records.cache_clear()  # another run
    assert_reads_as_the_folder(data, folder)
    assert shards() == []


def test_other_records_at_the_same_url_are_fetched_anew(bucket, tmp_path):
    data, folder = bucket
    assert_reads_as_the_folder(data, folder)
    files, path = record_files.file_system(data.records)
    files.rm(path, recursive=True)
    other = str(mars_fixture.write(tmp_path / 'other', height=32, width=16))
    build.build('mars', other, data.records, frames_per_shard=20)
    source._records.cache_clear()
    assert_reads_as_the_folder(data, config.Data(dataset='mars', root=other, height=16, width=8))


def test_a_lost_connection_names_the_url_and_leaves_nothing_half(bucket, tmp_path, monkeypatch):
    data, folder = bucket
    dataset = source.read(data)
    monkeypatch.setattr(Bucket, 'breaks', True)
    for on_corrupt in ('error', 'skip_frame'):
        data.on_corrupt_train = on_corrupt
        with pytest.raises(ValueError, match=r'cannot bring bucket://.*00000-of-00004 to .*: connection lost'):
            source.store(data, dataset, split='train').read(0, np.arange(2))
    assert not [path for path in (tmp_path / 'cache').rglob('*') if 'array_record' in path.name or path.name[0] == '.']
    monkeypatch.setattr(Bucket, 'breaks', False)
    assert_reads_as_the_folder(data, folder)


def test_a_shard_that_is_replaced_between_two_looks_is_not_taken(bucket, tmp_path):
    data, _ = bucket
    dataset = source.read(data)
    files, path = record_files.file_system(f'{data.records}/mars/1.0.0')
    files.pipe_file(f'{path}/mars-train.array_record-00000-of-00004', b'short')
    with pytest.raises(ValueError, match=r'cannot bring bucket://.*00000-of-00004 to .*: 5 bytes came, expected \d+'):
        source.store(data, dataset, split='train').read(0, np.arange(2))
    assert not [path for path in (tmp_path / 'cache').rglob('*') if 'array_record' in path.name]


def test_a_cached_shard_that_was_cut_off_is_fetched_again(bucket, tmp_path):
    data, folder = bucket
    assert_reads_as_the_folder(data, folder, rows=[0])
    (cached,) = (tmp_path / 'cache').rglob('*00000-of-00004')
    cached.write_bytes(cached.read_bytes()[:1000])
    assert_reads_as_the_folder(data, folder, rows=[0])


def test_a_shard_that_was_replaced_in_the_bucket_is_named(bucket):
    data, _ = bucket
    files, path = record_files.file_system(f'{data.records}/mars/1.0.0')
    files.pipe_file(f'{path}/mars-test.array_record-00000-of-00002', b'short')
    with pytest.raises(ValueError, match=r'bucket://.*mars-test.array_record-00000-of-00002 has 5 bytes, expected \d+'):
        source.read(data)


@pytest.mark.parametrize('url', ['gs://bucket/records', 'nonsense://records'])
def test_urls_that_nothing_installed_opens_are_named(url):
    try:
        fsspec.core.url_to_fs(url)
    except (ImportError, ValueError):
        with pytest.raises(OSError, match=f'cannot open {url}: '):
            record_files.find(url, below='mars/1.0.0')
    else:
        pytest.skip('a package for this URL is installed')


def test_the_synthetic_benchmark_s_own_description_comes_with_its_records(bucket, tmp_path):
    url = bucket[0].records
    (tmp_path / 'info').mkdir()
    record = pathlib.Path(tmp_path, 'info', 'synthetic.json')
    record.write_text('{"groups": {}}')
    files, path = record_files.file_system(f'{url}/mars/1.0.0')
    files.pipe_file(f'{path}/info/synthetic.json', record.read_bytes())
    manifest = files.cat_file(f'{path}/files.json').replace(b'{\n', b'{\n"info/synthetic.json": 14,\n', 1)
    files.pipe_file(f'{path}/files.json', manifest)
    dataset = source.read(bucket[0])
    assert pathlib.Path(dataset.root, 'info', 'synthetic.json').read_bytes() == record.read_bytes()


def test_a_small_file_that_is_not_what_was_written_is_named(bucket):
    url = f'{bucket[0].records}/mars/1.0.0'
    files, path = record_files.file_system(url)
    assert source.read(bucket[0]).train
    named = json.loads(files.cat_file(f'{path}/files.json'))
    assert all(isinstance(one, list) == ('array_record-' not in name) for name, one in named.items())
    index = bytearray(files.cat_file(f'{path}/{record_index.FILE}'))
    index[4] ^= 1  # when it was packed: to gzip as good as before
    files.pipe_file(f'{path}/{record_index.FILE}', bytes(index))
    found = record_files.find(url, below='')
    shutil.rmtree(found.root)
    with pytest.raises(ValueError, match=rf'{record_index.FILE} is not what was written'):
        found.path(record_index.FILE)
