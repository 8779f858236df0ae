"""Records beside the folder they were made from: the same pixels, the same policy, and only what a batch needs."""

import collections
import concurrent.futures
import dataclasses
import gzip
import itertools
import json
import pathlib
import pickle

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import build
from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.batches import clip_sampling, train_pipeline
from jaxreid.data.datasets import catalogue
from jaxreid.data.flow import optical_flow
from jaxreid.data.stores import folder_store, record_files, record_index, record_store
from jaxreid.data.tracklets import tracklet
from jaxreid.training import checkpoint
from tests.fixtures import eval_clips, meshes, moving_texture
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import mars_folder as mars_fixture

CORRUPT = 'bbox_train/0001/0001C1T0001F005.jpg'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A data set with a corrupt frame, and its records beside it."""
    place = tmp_path_factory.mktemp('records')
    root = mars_fixture.write(place / 'mars')
    frame = root / CORRUPT
    frame.write_bytes(frame.read_bytes()[:-20])
    build.build('mars', str(root), str(place / 'out'), frames_per_shard=20)
    return place


@pytest.fixture
def copy(place, tmp_path):
    """Records of one's own, to be damaged; the folder that they lie in."""
    for path in (place / 'out' / 'mars' / '1.0.0').iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def folder(place, **changes):
    """Settings that read the folder."""
    given = {'height': 16, 'width': 8} | changes
    return config.Data(dataset='mars', root=str(place / 'mars'), **given)


def records(place, **changes):
    """Settings that read the records; the folder is nowhere."""
    given = {'height': 16, 'width': 8, 'store': 'records', 'records': str(place / 'out')} | changes
    return config.Data(dataset='mars', root='/nowhere', **given)


def opened(path):
    """A record set and its index, past the cache of the process."""
    files = record_files.find(str(path), below='mars/1.0.0')
    return files, record_index.from_bytes(files.path(record_index.FILE).read_bytes(), folder=files.folder)


def open_store(path, *, on_corrupt='error', split='train'):
    """A store of a record set."""
    files, index = opened(path)
    dataset = record_index.to_dataset(index, config.Data(dataset='mars'), folder=files.folder, root=str(files.root))
    how = {'height': 16, 'width': 8, 'resize': 'bicubic', 'on_corrupt': on_corrupt}
    return record_store.RecordStore(files, index, getattr(dataset, split), folder_store.Reading(**how))


def train_batches(data, count, *, start_step=0):
    """The first batches of a training run."""
    experiment = config.Experiment(data=data)
    experiment.sampler = config.Sampler(num_ids=2, tracklets_per_id=2, frames=3, stride_frames=2)
    dataset = source.read(data)
    store = source.training_store(data, dataset, sharding.make_mesh())
    labels = tracklet.label_map(dataset.train)
    with train_pipeline.batches(dataset.train, store, labels, experiment, start_step=start_step) as batches:
        return list(itertools.islice(batches, count)), batches.skipped


def eval_batches(data, clips):
    """All batches of an evaluation."""
    dataset = source.read(data)
    store = source.store(data, dataset, split='test')
    how = {'clips': clips, 'frames': 2, 'batch_clips': 4, 'threads': 2, 'prefetch': 2}
    with eval_clips.batches(dataset.test, store, **how) as batches:
        return list(batches)


def assert_equal(some, others):
    """Batches to the bit."""
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'height': 24, 'width': 20, 'resize': 'bilinear', 'threads': 3},
        {'dense_frames': 4, 'dense_stride': 2},
        {'flow': 'zeros'},
    ],
)
def test_training_batches_are_those_of_the_folder_to_the_bit(place, changes):
    expected, skipped = train_batches(folder(place, **changes), 12)
    found, also_skipped = train_batches(records(place, **changes), 12)
    assert_equal(found, expected)
    assert skipped > 0
    assert also_skipped > 0
    later, _ = train_batches(records(place, **changes), 3, start_step=9)  # what was trained from the folder goes on
    assert_equal(later, expected[9:])


def test_stores_in_memory_decode_from_records_as_well(place):
    expected, _ = train_batches(folder(place), 4)
    found, _ = train_batches(records(place, store='ram'), 4)
    assert_equal(found, expected)
    data = records(place, store='device')
    source.training_store(data, source.read(data), sharding.make_mesh())


@pytest.mark.parametrize('clips', ['all_frames', 'whole'])
def test_evaluation_batches_are_those_of_the_folder_to_the_bit(place, clips):
    assert_equal(eval_batches(records(place), clips), eval_batches(folder(place), clips))


@pytest.mark.parametrize('process', [0, 1, 3])
def test_a_host_reads_the_records_of_its_slice_and_no_others(place, process, monkeypatch):
    data = records(place, threads=1, prefetch=1)
    dataset = source.read(data)
    experiment = config.Experiment(data=data)
    experiment.sampler = config.Sampler(num_ids=2, tracklets_per_id=2, frames=3, stride_frames=2)
    store = source.store(data, dataset, split='train')
    read = []
    images, original = store._images, store._images.read  # of this store: another test's may still be read ahead
    monkeypatch.setattr(images, 'read', lambda record: read.append(record) or original(record))
    labels = tracklet.label_map(dataset.train)
    first = np.cumsum([0, *(len(t.frames) for t in dataset.train)])
    corrupt = dataset.train[0].frames.index(CORRUPT)
    mesh = meshes.seen_by(process, range(4))
    batches = train_pipeline.batches(dataset.train, store, labels, experiment, start_step=5, mesh=mesh)
    with batches:
        next(batches)
    allowed = collections.Counter()
    for number, (row, frames) in enumerate(batches_plan(dataset, experiment, process, steps=range(5, 9))):
        for frame in set(frames):  # one that a clip repeats is read once
            neighbour = [frame - 1] if (row, frame) == (0, corrupt) else []
            allowed.update(int(first[row]) + position for position in (frame, *neighbour))
        if number == 0:
            assert not allowed - collections.Counter(read)
    assert not collections.Counter(read) - allowed  # some batches are made ahead


def batches_plan(dataset, experiment, process, *, steps):
    """[(row, frames)] of a host's quarter of batches of four clips: the clip of slot `process`."""
    sampler = train_pipeline.sampler(dataset.train, experiment)
    plan = []
    for step in steps:
        row = int(sampler.tracklets(step)[process])
        rng = np.random.default_rng((0, step // sampler.steps_per_epoch, step, process))
        count = len(dataset.train[row].frames)
        plan.append((row, clip_sampling.train_clip(count, rng, kind='stride_crop', frames=3, stride_frames=2).tolist()))
    return plan


def test_a_corrupt_frame_names_itself_its_file_and_its_record(place):
    store = open_store(place / 'out')
    with pytest.raises(ValueError) as error:
        store.read(0, np.arange(9))
    for text in (
        CORRUPT,
        'mars-train.array_record-00000-of-00004, record 4',
        'truncated JPEG',
        'data.on_corrupt_train',
    ):
        assert text in str(error.value)


def test_pickled_copies_and_threads_read_the_same(place):
    store = open_store(place / 'out', on_corrupt='skip_frame')
    expected = [store.read(row, np.arange(3) % len(t.frames)) for row, t in enumerate(store._tracklets)]
    other = pickle.loads(pickle.dumps(store))
    assert (store.skipped, other.skipped) == (0, 0)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda row: other.read(row, np.arange(3) % len(store._tracklets[row].frames)), [*range(8)] * 9)
        )
    for number, clip in enumerate(found):
        np.testing.assert_array_equal(clip, expected[number % 8])


def test_held_out_identities_are_the_same_from_records(place):
    wide = {'part': 'validation'}
    with pytest.raises(ValueError, match='every fifth') as error:
        source.read(folder(place, **wide))  # four identities are too few
    with pytest.raises(ValueError, match='every fifth') as other:
        source.read(records(place, **wide))
    root = str(place / 'mars')
    assert str(error.value).replace(root, '') == str(other.value).replace(str(place / 'out/mars/1.0.0'), '')


# What may be wrong with a record set.


def test_a_folder_that_is_no_record_set_says_what_it_holds(tmp_path):
    (tmp_path / 'holiday.jpg').touch()
    with pytest.raises(FileNotFoundError, match=r'No record set at .*mars/1.0.0: no files.json, found holiday.jpg'):
        opened(tmp_path)
    with pytest.raises(FileNotFoundError, match='found nothing'):
        opened(tmp_path / 'nowhere')


def test_records_that_are_not_finished_are_no_records(copy):
    (copy / record_files.MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match=r'is not finished: index.jsonl.gz is there, no files.json'):
        opened(copy)


def test_a_missing_shard_is_named(copy):
    (copy / 'mars-test.array_record-00001-of-00002').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'lacks 1 of its 9 files, such as mars-test.array_record-00001-of-00002'
    ):
        opened(copy)


def test_a_truncated_shard_is_named_with_its_sizes(copy):
    shard = copy / 'mars-train.array_record-00002-of-00004'
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf'00002-of-00004 has {size - 100} bytes, expected {size}'):
        opened(copy)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda data: data[:50], 'cannot be used'),
        (lambda data: data[:20] + b'?' + data[21:], 'cannot be used'),
        (lambda data: b'no gzip', 'cannot be used'),
        (lambda data: gzip.compress(b'{}\n'), 'cannot be used: line 1 does not hold what a set is: lacks format'),
        (lambda data: gzip.compress(b'{"format": 9}\n'), 'its format is 9, this version of jaxreid reads 1'),
        (
            lambda data: gzip.compress(b'\n'.join(gzip.decompress(data).splitlines()[:-1])),
            'it holds 14 tracklets, expected 15',
        ),
        (
            lambda data: gzip.compress(gzip.decompress(data).replace(b'"sizes": [', b'"sizes": ["x", ', 1)),
            'cannot be used',
        ),
    ],
)
def test_a_damaged_index_is_named(copy, change, message):
    index = copy / record_index.FILE
    with pytest.raises(ValueError, match=message) as error:
        record_index.from_bytes(change(index.read_bytes()), folder='/records/mars')
    assert '/records/mars' in str(error.value)


@pytest.mark.parametrize('text', [b'', b'[1]', b'{"a": "b"}', b'{'])
def test_a_damaged_list_of_files_is_named(copy, text):
    (copy / record_files.MANIFEST).write_bytes(text)
    with pytest.raises(ValueError, match=r'files.json does not hold names and sizes'):
        opened(copy)


def test_finished_records_of_other_data_sets_are_named_and_not_called_unfinished(place):
    with pytest.raises(FileNotFoundError, match=r'holds finished records of mars/1.0.0, none of dukev/1.0.0') as error:
        source.read(dataclasses.replace(records(place), dataset='dukev'))
    assert 'not finished' not in str(error.value)


def test_records_of_another_data_set_or_version_are_refused(place, copy, monkeypatch):
    with pytest.raises(ValueError, match=r'holds records of mars, version 1.0.0, but data.dataset asks for dukev'):
        source.read(dataclasses.replace(records(place), dataset='dukev', records=str(copy)))
    newer = dataclasses.replace(catalogue.find('mars'), version='2.0.0')
    monkeypatch.setitem(catalogue.by_name(), 'mars', newer)
    with pytest.raises(ValueError, match=r'holds records of mars, version 1.0.0, but .* asks for mars, version 2.0.0'):
        source.read(dataclasses.replace(records(place), records=str(copy)))


def rewritten(copy, change):
    """Changes lines of the index, and the list of files with it."""
    index = copy / record_index.FILE
    lines = [json.loads(line) for line in gzip.decompress(index.read_bytes()).splitlines()]
    change(lines)
    index.write_bytes(gzip.compress(b''.join(json.dumps(line).encode() + b'\n' for line in lines)))
    manifest = json.loads((copy / record_files.MANIFEST).read_text())
    manifest[record_index.FILE] = index.stat().st_size
    (copy / record_files.MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize('on_corrupt', ['error', 'skip_frame'])
def test_a_frame_whose_size_is_not_that_of_the_index_is_of_another_build_under_any_policy(copy, on_corrupt):
    def change(lines):
        lines[1]['sizes'][3] += 1

    rewritten(copy, change)
    store = open_store(copy, on_corrupt=on_corrupt)
    store.read(0, np.arange(3))
    with pytest.raises(
        folder_store.StoreError, match=r'F004.jpg with \d+ bytes; the index says .*F004.jpg with \d+: they'
    ):
        store.read(0, np.asarray([3]))


def test_a_frame_in_another_place_than_the_index_says_is_of_another_build(copy):
    one, other = (copy / f'mars-train.array_record-0000{number}-of-00004' for number in (0, 1))
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    with pytest.raises(folder_store.StoreError, match='they are not of one build'):
        open_store(copy, on_corrupt='skip_frame').read(0, np.arange(3))


def test_a_shard_of_the_right_size_that_holds_something_else_is_named(copy):
    shard = copy / 'mars-train.array_record-00000-of-00004'
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(folder_store.StoreError, match=r'00000-of-00004 holds 0 readable records, expected 20'):
        open_store(copy, on_corrupt='skip_frame').read(0, np.arange(3))


def test_a_flipped_byte_is_an_unreadable_frame_under_the_policy(copy):
    shard = copy / 'mars-train.array_record-00000-of-00004'
    data = bytearray(shard.read_bytes())
    jpeg = open_store(copy)._bytes(0, 2)
    data[data.index(jpeg) + 100] ^= 255
    shard.write_bytes(data)
    with pytest.raises(ValueError, match=r'0001C1T0001F003.jpg \(.*record 2\): damaged record: .*hash mismatch'):
        open_store(copy).read(0, np.asarray([2]))
    store = open_store(copy, on_corrupt='skip_frame')
    clip = store.read(0, np.asarray([1, 2]))
    np.testing.assert_array_equal(clip[0], clip[1])
    assert store.skipped == 1


def test_tracklets_of_something_else_are_refused(place):
    files, index = opened(place / 'out')
    stranger = tracklet.Tracklet('0009C1T0001', 9, 1, ('bbox_train/0009/0009C1T0001F001.jpg',))
    how = {'height': 16, 'width': 8, 'resize': 'bicubic', 'on_corrupt': 'error'}
    with pytest.raises(ValueError, match='of tracklet 0009C1T0001 is not among the records of mars'):
        record_store.RecordStore(files, index, [stranger], folder_store.Reading(**how))


def test_pieces_of_tracklets_that_share_frames_are_each_found_in_their_own(tmp_path):
    listing_fixture.draw(tmp_path, [f'a/{number}.jpg' for number in range(12)])
    walks = {'whole': range(12), 'late': range(4, 12), 'thin': range(0, 12, 2), 'x@4': range(2, 10)}
    rows = [f'{name},1,1,train,{"|".join(f"a/{number}.jpg" for number in walk)}' for name, walk in walks.items()]
    (tmp_path / 'own.csv').write_text('\n'.join(['tracklet,pid,camera,role,frames', *rows]))
    build.build('manifest', str(tmp_path / 'own.csv'), str(tmp_path / 'out'), frames_per_shard=5)
    for dense in ({}, {'dense_frames': 4}, {'dense_frames': 4, 'dense_stride': 2}, {'dense_frames': 1}):
        read = {'dataset': 'manifest', 'root': str(tmp_path / 'own.csv'), 'height': 16, 'width': 8} | dense
        lying = config.Data(**read)
        packed = config.Data(**read, store='records', records=str(tmp_path / 'out'))
        train = source.read(lying).train
        assert source.read(packed).train == train
        stores = [source.store(data, source.read(data), split='train') for data in (lying, packed)]
        for row, one in enumerate(train):
            frames = np.arange(len(one.frames))
            np.testing.assert_array_equal(*[store.read(row, frames) for store in stores])


# Flow, settings, resumption.


def test_stored_flow_is_that_of_the_folder_and_nothing_is_computed(tmp_path, monkeypatch):
    places = [(0, 0), (1, 0), (3, 0), (3, 2)]
    root = moving_texture.write_mars(tmp_path / 'mars', [places, [(0, 0)]])
    size = {'height': 32, 'width': 16, 'flow': 'tvl1'}
    data = config.Data(dataset='mars', root=str(root), flow_folder=str(tmp_path / 'flow'), **size)
    dataset = source.read(data)
    store = source.store(data, dataset, split='train')
    every = [np.arange(len(t.frames)) for t in dataset.train]
    expected = [store.read_flow(row, frames) for row, frames in enumerate(every)]
    build.build('mars', str(root), str(tmp_path / 'out'), frames_per_shard=3)
    common = {'flow_folder': str(tmp_path / 'flow'), 'height': 32, 'width': 16}
    made = build.build_flow('mars', str(root), str(tmp_path / 'out'), **common)
    before = {path.name: path.read_bytes() for path in pathlib.Path(made).iterdir()}
    assert build.build_flow('mars', str(root), str(tmp_path / 'out'), **common) == made
    assert before == {path.name: path.read_bytes() for path in pathlib.Path(made).iterdir()}
    source._flow_cache.cache_clear()
    monkeypatch.setattr(optical_flow, 'tv_l1', None)
    from_records = dataclasses.replace(data, root='', flow_folder='', store='records', records=str(tmp_path / 'out'))
    for changes in ({}, {'dense_frames': 2}):
        changed = dataclasses.replace(from_records, **changes)
        pieces = source.read(changed).train
        store = source.store(changed, source.read(changed), split='train')
        found = [store.read_flow(row, np.arange(len(t.frames))) for row, t in enumerate(pieces)]
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected))
    examples = tfds.builder_from_directory(made).as_data_source('train')
    np.testing.assert_array_equal(np.stack([example['flow'] for example in examples]), np.concatenate(expected))


def test_settings_that_contradict_each_other_are_refused():
    for data, message in (
        (config.Data(store='records'), 'needs config.data.records'),
        (config.Data(records='/r'), "is not read with data.store = 'folder'"),
    ):
        with pytest.raises(config.ConfigError, match=message):
            config.validate(config.Experiment(data=data))
    config.validate(config.Experiment(data=config.Data(store='ram', records='/r')))


def test_a_run_goes_on_from_another_store(tmp_path):
    before = config.Experiment(data=config.Data(root='/data/MARS'))
    saved = {'config': config.to_dict(before)}
    for store in ('records', 'ram', 'device'):
        now = config.Experiment(data=config.Data(store=store, records='gs://bucket/records'))
        checkpoint.check_same_run(saved, now, tmp_path)
