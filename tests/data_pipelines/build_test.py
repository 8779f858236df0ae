"""Records of every data set: the files' own bytes, TFDS' idea of them, and what a kill leaves behind."""

import gzip
import itertools
import json
import os
import pathlib
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import build, builders, record_writer
from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import catalogue, mars
from jaxreid.data.stores import record_files, record_index
from jaxreid.data.synthetic import render
from jaxreid.process import exit_status, paths
from tests.fixtures import dukev_folder, field_folders, ilids_folder, lsvid_folder, prid_folder
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import mars_folder as mars_fixture

ROOT = pathlib.Path(__file__).resolve().parents[2]


class KeepBytes(tfds.decode.SkipDecoding):
    """Images as they are stored, also in batches."""

    def decode_batch_example_np(self, example):
        return example


def files(folder):
    """Relative path -> content of all files below a folder."""
    found = pathlib.Path(folder)
    return {str(path.relative_to(found)): path.read_bytes() for path in sorted(found.rglob('*')) if path.is_file()}


def records(folder):
    """{part: examples} of a record set, by TFDS alone; images as bytes."""
    builder = tfds.builder_from_directory(folder)
    return {part: list(builder.as_data_source(part, decoders={'image': KeepBytes()})) for part in builder.info.splits}


def assert_equal(one, two):
    """Two data sets but for where they lie."""
    assert (one.train, one.test) == (two.train, two.test)
    assert (one.query.tolist(), one.gallery.tolist()) == (two.query.tolist(), two.gallery.tolist())
    assert (one.pid_names, one.camera_names) == (two.pid_names, two.camera_names)


@pytest.fixture
def mars_root(tmp_path):
    return str(mars_fixture.write(tmp_path / 'mars'))


def test_a_record_is_a_frame_with_the_bytes_of_its_file_and_tfds_opens_it(mars_root, tmp_path):
    folder = build.build('mars', mars_root, str(tmp_path / 'out'), frames_per_shard=20)
    assert folder == str(tmp_path / 'out' / 'mars' / '1.0.0')
    dataset = source.read(config.Data(dataset='mars', root=mars_root))
    found = records(folder)
    for part, tracklets, query in (
        ('train', dataset.train, np.zeros(len(dataset.train), bool)),
        ('test', dataset.test, dataset.query),
    ):
        wanted = [(t, q, i) for t, q in zip(tracklets, query, strict=True) for i in range(len(t.frames))]
        assert len(found[part]) == len(wanted)
        for example, (tracklet, is_query, position) in zip(found[part], wanted, strict=True):
            path = tracklet.frames[position]
            assert example['image'] == pathlib.Path(mars_root, path).read_bytes()
            assert (example['name'], example['tracklet']) == (path.encode(), tracklet.name.encode())
            assert (example['pid'], example['camera'], example['position']) == (tracklet.pid, tracklet.camera, position)
            assert (example['query'], example['gallery']) == (is_query, part == 'test')
    assert len(list(pathlib.Path(folder).glob('mars-train.array_record-*-of-00004'))) == 4  # 73 frames
    assert tfds.builder_from_directory(folder).as_data_source('train')[0]['image'].shape == (16, 8, 3)
    assert 'tensorflow' not in sys.modules


def test_records_of_png_files_hold_png_files(tmp_path):
    listing_fixture.draw(tmp_path / 'ilids', ilids_folder.paths(ilids_folder.FEW))
    ilids_folder.write_splits(tmp_path / 'ilids', np.tile(np.asarray([[1, 6, 2, 3, 4, 5]], np.uint16), (10, 1)))
    folder = build.build('ilids', str(tmp_path / 'ilids'), str(tmp_path / 'out'))
    (pool,) = records(folder).values()
    names = [example['name'].decode() for example in pool]
    assert sorted(names) == sorted(ilids_folder.paths(ilids_folder.FEW))
    for example in pool:
        assert example['image'] == (tmp_path / 'ilids' / example['name'].decode()).read_bytes()


def rotated(people, split):
    return people[split % len(people) :] + people[: split % len(people)]


def write_ilids(root):
    listing_fixture.draw(root, ilids_folder.paths(ilids_folder.FEW, frames=(98, 99)))
    splits = [rotated([1, 6, 2, 3, 4, 5], split) for split in range(10)]
    ilids_folder.write_splits(root, np.asarray(splits, np.uint16))
    return [{'split': str(i), 'split_rule': half} for i in range(10) for half in ('first', 'second')]


def write_prid(root):
    for camera in 'ab':
        listing_fixture.touch(root, prid_folder.paths(camera, range(1, 201)))
    return [{'split': str(i), 'split_rule': persons} for i in (0, 9) for persons in ('178', '200')]


def write_lsvid(root):
    lsvid_folder.write(root, draw=True)
    return [{'part': part} for part in ('official', 'validation')]


def write_dukev(root):
    dukev_folder.write(root)
    return [{}]


def write_mars(root):
    mars_fixture.write(root)
    return [{}, {'dense_frames': 4}, {'part': 'official', 'dense_frames': 8, 'dense_stride': 4}]


def write_manifest(root):
    listing_fixture.draw(root, [f'{name}/{frame}.jpg' for name in 'abc' for frame in range(3)])
    (root / 'table.csv').write_text(
        'tracklet,pid,camera,role,folder,frames,time\none,Ann,door,train,a,,\ntwo,Bob,door,query,,b/0.jpg|b/2.jpg,12.5\n'
        'three,Bob,gate,gallery,c,,2026-11-21T14:05\nfour,Ann,door,train,,a/0.jpg|a/2.jpg,\n'
    )
    return [{}]


@pytest.mark.parametrize('dataset', ['mars', 'dukev', 'ilids', 'prid', 'lsvid', 'manifest', *field_folders.WRITERS])
def test_every_split_of_every_data_set_comes_from_one_record_set_as_its_reader_gives_it(dataset, tmp_path):
    root = tmp_path / 'root'
    if dataset in field_folders.WRITERS:
        field_folders.WRITERS[dataset](root)
        every = catalogue.find(dataset).splits('')
    else:
        every = globals()[f'write_{dataset}'](root)
    place = str(root / 'table.csv') if dataset == 'manifest' else str(root)
    build.build(dataset, place, str(tmp_path / 'out'))
    expected = [source.read(config.Data(dataset=dataset, root=place, **settings)) for settings in every]
    root.rename(tmp_path / 'elsewhere')
    source._records.cache_clear()
    for settings, wanted in zip(every, expected, strict=True):
        data = config.Data(dataset=dataset, store='records', records=str(tmp_path / 'out'), **settings)
        assert_equal(source.read(data), wanted)


def test_parts_are_train_and_test_where_no_split_mixes_them(tmp_path):
    write_lsvid(tmp_path / 'lsvid')
    folder = build.build('lsvid', str(tmp_path / 'lsvid'), str(tmp_path / 'out'))
    assert list(records(folder)) == ['train', 'test', 'val']


def test_splits_whose_files_are_missing_are_left_out_and_named(tmp_path, capsys):
    write_lsvid(tmp_path / 'lsvid')
    for path in (tmp_path / 'lsvid').rglob('*val*'):
        if path.suffix in ('.txt', '.mat'):
            path.unlink()
    build.build('lsvid', str(tmp_path / 'lsvid'), str(tmp_path / 'out'))
    assert "1 splits are left out, such as {'part': 'validation'}" in capsys.readouterr().err
    data = config.Data(dataset='lsvid', store='records', records=str(tmp_path / 'out'), part='validation')
    with pytest.raises(ValueError, match=r"has no split with part='validation'; it has part='official'"):
        source.read(data)


def test_the_order_in_which_folders_are_listed_does_not_matter(mars_root, tmp_path, monkeypatch):
    expected = files(build.build('mars', mars_root, str(tmp_path / 'one'), frames_per_shard=20, workers=1))
    listing_fixture.shuffle(monkeypatch, 0)
    other = build.build('mars', mars_root, str(tmp_path / 'other'), frames_per_shard=20, workers=5)
    assert files(other) == expected


KILLED = """
    import os, sys, time
    from data_pipelines import build
    fsync = os.fsync
    def slow(handle):  # so that the kill comes in the middle; what is written is the same
        fsync(handle)
        time.sleep(0.02)
    os.fsync = slow
    build.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_build_that_is_killed_and_started_again_gives_the_bytes_of_one_that_was_not(tmp_path):
    root = str(render.ensure(tmp_path / 'tiny', 'tiny', workers=1, progress=False))
    out, whole = tmp_path / 'killed', tmp_path / 'whole'
    folder = out / 'synthetic' / 'tiny' / catalogue.find('synthetic').version
    arguments = ['synthetic', root, str(out), '--preset=tiny', '--frames_per_shard=20', '--workers=3']
    process = subprocess.Popen(
        [sys.executable, '-c', textwrap.dedent(KILLED), *arguments],
        env=os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    wanted = random.randrange(1, 40)  # of 52 shards
    while len(list(folder.glob('synthetic-*.array_record-*'))) < wanted and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = {path.name: (path.stat().st_ino, path.read_bytes()) for path in folder.glob('synthetic-*.array_record-*')}
    assert wanted <= len(left) < 52
    with pytest.raises(
        FileNotFoundError, match=r'is not finished: .* Run the same python -m jaxreid.data_pipelines.build again'
    ):
        record_files.find(str(out), below='synthetic/tiny/2.0.0')
    settings = {'preset': 'tiny', 'frames_per_shard': 20}
    assert build.build('synthetic', root, str(out), **settings) == str(folder)
    expected = files(build.build('synthetic', root, str(whole), **settings) and whole)
    assert files(out) == expected  # and nothing temporary is left
    for name, (inode, data) in left.items():
        assert ((folder / name).stat().st_ino, (folder / name).read_bytes()) == (inode, data)  # kept, not made again
    read = source.read(config.Data(dataset='synthetic', preset='tiny', store='records', records=str(out)))
    assert [one.attributes for one in read.test] == [one.attributes for one in mars.read(root).test]
    assert read.test[0].attributes['view'] in ('front', 'left', 'back', 'right')


def test_shards_that_are_lost_or_cut_off_are_made_again_and_only_they(mars_root, tmp_path):
    folder = pathlib.Path(build.build('mars', mars_root, str(tmp_path / 'out'), frames_per_shard=20))
    expected = files(folder)
    names = sorted(path.name for path in folder.glob('mars-*'))
    (folder / names[0]).unlink()
    (folder / names[1]).write_bytes(expected[names[1]][:70000])
    kept = (folder / names[2]).stat().st_ino
    build.build('mars', mars_root, str(tmp_path / 'out'), frames_per_shard=20)
    assert files(folder) == expected
    assert (folder / names[2]).stat().st_ino == kept


@pytest.mark.parametrize('change', ['a longer file', 'shards of another size'])
def test_records_of_other_files_are_not_mixed_with_new_ones(mars_root, tmp_path, change):
    folder = build.build('mars', mars_root, str(tmp_path / 'out'))
    before = files(folder)
    frame = next(pathlib.Path(mars_root).rglob('*.jpg'))
    if change == 'a longer file':
        frame.write_bytes(frame.read_bytes() + b'1')
    with pytest.raises(ValueError, match=r'holds records of other files than .* or in shards of another size'):
        build.build('mars', mars_root, str(tmp_path / 'out'), frames_per_shard=16384 if 'file' in change else 7)
    assert files(folder) == before


def test_a_file_that_changes_during_the_build_is_named_and_no_shard_holds_it(mars_root, tmp_path, monkeypatch):
    frame = pathlib.Path(mars_root, 'bbox_train/0003/0003C1T0001F007.jpg')
    run = record_writer.run

    def change_first(*args, **kwargs):
        frame.write_bytes(frame.read_bytes()[:-5])
        run(*args, **kwargs)

    monkeypatch.setattr(record_writer, 'run', change_first)
    with pytest.raises(ValueError, match=r'0003C1T0001F007.jpg has \d+ bytes; it had \d+ when the build began'):
        build.build('mars', mars_root, str(tmp_path / 'out'), workers=1)
    found = files(tmp_path / 'out')
    assert record_files.MANIFEST not in {name.rpartition('/')[2] for name in found}
    assert not [name for name in found if 'train.array_record' in name or '.partial-' in name]


def test_a_disk_that_is_full_leaves_no_half_shard(mars_root, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=r'cannot write .*index.jsonl.gz: .*No space left'):
        build.build('mars', mars_root, str(tmp_path / 'out'))
    assert files(tmp_path / 'out') == {}


def test_files_get_their_names_by_renaming_after_they_are_on_the_disk(mars_root, tmp_path, monkeypatch):
    flushed = set()
    monkeypatch.setattr(os, 'fsync', lambda handle: flushed.add(os.fstat(handle).st_ino))
    folder = pathlib.Path(build.build('mars', mars_root, str(tmp_path / 'out'), frames_per_shard=20))
    assert {path.stat().st_ino for path in folder.iterdir()} == flushed


def test_two_builds_do_not_write_into_one_folder(mars_root, tmp_path):
    with (
        record_writer.alone(str(tmp_path / 'out' / 'mars' / '1.0.0')),
        pytest.raises(OSError, match='another build is writing into'),
    ):
        build.build('mars', mars_root, str(tmp_path / 'out'))


def test_builders_of_tfds_make_the_same_bytes(mars_root, tmp_path):
    expected = files(build.build('mars', mars_root, str(tmp_path / 'one')))
    builder = builders.Mars(data_dir=tmp_path / 'other')
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=mars_root))
    assert files(builder.data_dir) == expected
    assert builder.info.splits['train'].num_examples == 73
    assert len(tfds.data_source('mars', split='test', data_dir=tmp_path / 'other')) == 33
    with pytest.raises(ValueError, match='written as array_record only'):
        builder.download_and_prepare(file_format='tfrecord')


def test_there_is_a_builder_for_every_data_set(tmp_path):
    for name in config.DATASETS:
        builder = getattr(builders, name.capitalize())(data_dir=tmp_path)
        place = record_index.place(config.Data(dataset=name, preset='tiny'))
        assert str(builder.data_dir) == f'{tmp_path}/{place}'


def test_records_are_written_to_a_url_and_resumed_there(mars_root, tmp_path):
    expected = files(build.build('mars', mars_root, str(tmp_path / 'out'), frames_per_shard=20))
    url = f'memory://{tmp_path.name}'
    folder = build.build('mars', mars_root, url, frames_per_shard=20)
    assert folder == f'{url}/mars/1.0.0'
    system, path = record_files.file_system(folder)
    lost = f'{path}/mars-train.array_record-00001-of-00004'
    system.rm(lost)
    build.build('mars', mars_root, url, frames_per_shard=20)
    assert {name: system.cat_file(f'{path}/{name}') for name in record_files.listing(folder)} == expected


@pytest.mark.parametrize('part', ['mars-train.array_record-00001-of-00004', record_index.FILE])
def test_what_came_to_a_url_only_in_half_is_sent_again(mars_root, tmp_path, part):
    url = f'memory://{tmp_path.name}'
    folder = build.build('mars', mars_root, url, frames_per_shard=20)
    system, path = record_files.file_system(folder)
    whole = system.cat_file(f'{path}/{part}')
    for left in (len(whole) // 2, len(whole) - 1, 0):
        system.pipe_file(f'{path}/{part}', whole[:left])
        system.rm(f'{path}/{record_files.MANIFEST}')
        build.build('mars', mars_root, url, frames_per_shard=20)
        assert system.cat_file(f'{path}/{part}') == whole


def test_whole_shards_at_a_url_are_neither_sent_nor_fetched_again(mars_root, tmp_path, monkeypatch):
    url = f'memory://{tmp_path.name}'
    folder = build.build('mars', mars_root, url, frames_per_shard=20)
    shards = record_index.from_bytes(build._read_bytes(folder, record_index.FILE), folder=folder).shards('mars')
    assert record_writer.missing(folder, shards) == []
    many = [shards[0]._replace(stop=shards[0].stop + 1), *shards[1:]]
    assert record_writer.missing(folder, many) == many[:1]


def test_the_end_of_a_large_shard_says_how_many_records_it_has(tmp_path):
    record_writer.write_records(str(tmp_path), 'large', (bytes(1000) for _ in range(6000)), compressed=False)
    data = (tmp_path / 'large').read_bytes()
    system, path = record_files.file_system(f'memory://{tmp_path.name}')
    system.pipe_file(f'{path}/large', data)
    shard = record_index.Shard('large', 'train', 0, 6000)
    record_writer._fetch_end(f'memory://{tmp_path.name}', shard, str(tmp_path / 'end'))
    assert (tmp_path / 'end').stat().st_blocks * 512 < len(data) / 5 < (tmp_path / 'end').stat().st_size
    assert record_writer.missing(f'memory://{tmp_path.name}', [shard]) == []
    system.pipe_file(f'{path}/large', data[: len(data) // 2])
    assert record_writer.missing(f'memory://{tmp_path.name}', [shard]) == [shard]


@pytest.mark.slow
def test_a_kill_between_any_two_files_leaves_nothing_temporary_behind_a_second_build(tmp_path):
    root = str(render.ensure(tmp_path / 'tiny', 'tiny', workers=1, progress=False))
    kill = """
        import os, pathlib, signal, sys
        from data_pipelines import build
        fsync, left = os.fsync, [int(sys.argv[1])]
        def kill(handle):
            fsync(handle)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
        os.fsync = kill
        build.main(sys.argv[2:])
    """
    arguments = ['synthetic', root, str(tmp_path / 'out'), '--preset=tiny']
    for files_before in (2, 5):  # info/synthetic.json, and one of those for TFDS
        process = subprocess.run(
            [sys.executable, '-c', textwrap.dedent(kill), str(files_before), *arguments],
            env=os.environ | {'PYTHONPATH': str(ROOT), 'JAX_PLATFORMS': 'cpu'},
            capture_output=True,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
        assert [name for name in files(tmp_path / 'out') if '.partial-' in name]
        build.build('synthetic', root, str(tmp_path / 'out'), preset='tiny')
        found = files(tmp_path / 'out')
        assert not [name for name in found if '.partial-' in name]
        assert any(name.endswith('info/synthetic.json') for name in found)
        shutil.rmtree(tmp_path / 'out')


def test_beam_that_is_not_installed_is_asked_for_by_name(mars_root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'apache_beam', None)
    with pytest.raises(ImportError, match='pip install apache-beam'):
        build.build('mars', mars_root, str(tmp_path / 'out'), beam=[])


@pytest.mark.parametrize('several', [False, True])
def test_beam_writes_the_same_bytes(mars_root, tmp_path, monkeypatch, several):
    """In this process, and where two others write. `.ci/run` runs it beside an Apache Beam of its own."""
    pytest.importorskip('apache_beam')
    expected = files(build.build('mars', mars_root, str(tmp_path / 'one'), frames_per_shard=20))
    assert sum('.array_record' in name for name in expected) > 3
    options = ['--runner=DirectRunner']
    if several:
        options += ['--direct_num_workers=2', '--direct_running_mode=multi_processing']

        def write(self, shard, report):
            raise AssertionError('this process writes no shard')

        monkeypatch.setattr(build._Frames, '__call__', write)
    folder = build.build('mars', mars_root, str(tmp_path / 'other'), frames_per_shard=20, beam=options)
    assert files(folder) == expected


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--flow_folder=x'], '--flow-folder and --flow-size belong together'),
        (['--flow_folder=x', '--flow_size=64'], "'64' is not a size such as 256x128"),
        (['--frames_per_shard=0'], '0 frames per shard'),
        ([], 'No MARS dataset at .*nowhere'),
        (['--flow_folder=x', '--flow_size=64x32'], 'No record set at .*out'),
    ],
)
def test_the_command_says_in_one_message_what_is_wrong(tmp_path, capsys, arguments, message):
    given = ['mars', str(tmp_path / 'nowhere'), str(tmp_path / 'out'), *arguments]
    if 'belong' in message or 'is not a size' in message:
        with pytest.raises(SystemExit, match='2'):
            build.main(given)
    else:
        assert exit_status.run(lambda: build.main(given)) == 1
    text = capsys.readouterr().err
    assert re.search(message, text), text


def test_options_are_spelled_with_dashes_as_well(tmp_path, capsys):
    assert exit_status.run(lambda: build.main(['mars', str(tmp_path), str(tmp_path), '--frames-per-shard=0'])) == 1
    assert '0 frames per shard' in capsys.readouterr().err


def test_ctrl_c_ends_a_build_at_once_with_a_message_and_nothing_half_written(mars_root, tmp_path, capsys, monkeypatch):
    read, numbers, late = paths.content, itertools.count(), []

    def slow(path):
        if str(path).endswith('.jpg'):
            number = next(numbers)  # in one step, for threads
            if number == 30:
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            if number >= 30:
                late.append(number)
                time.sleep(1)  # shards are at work when the main thread hears of it
        return read(path)

    expected = files(build.build('mars', mars_root, str(tmp_path / 'whole'), frames_per_shard=20))
    arguments = ['mars', mars_root, str(tmp_path / 'out'), '--frames_per_shard=20', '--workers=2']
    monkeypatch.setattr(sys, 'argv', ['build.py', *arguments])
    monkeypatch.setattr(paths, 'content', slow)
    monkeypatch.delitem(sys.modules, 'data_pipelines.build')  # runpy warns of a module that is there already
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs deaf to Ctrl-C
    try:
        with pytest.raises(SystemExit, match='130'):
            runpy.run_module('data_pipelines.build', run_name='__main__')
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(late) < 60  # of 76 frames that were left; a busy machine wakes the main thread late
    monkeypatch.undo()
    assert 'jaxreid: interrupted; run the same command again' in capsys.readouterr().err
    assert not [name for name in files(tmp_path / 'out') if '.partial-' in name]
    assert files(build.build('mars', mars_root, str(tmp_path / 'out'), frames_per_shard=20)) == expected


def test_the_index_is_lines_of_json_that_name_every_tracklet(mars_root, tmp_path):
    folder = build.build('mars', mars_root, str(tmp_path / 'out'))
    with gzip.open(pathlib.Path(folder, record_index.FILE), 'rt') as file:
        header, *lines = [json.loads(line) for line in file]
    assert (header['dataset'], header['parts']) == ('mars', {'train': 8, 'test': 7})
    assert [line['pid'] for line in lines] == [pid for pid, _, _ in (*mars_fixture.TRAIN, *mars_fixture.TEST)]
    assert sum(len(line['sizes']) for line in lines) == 106
