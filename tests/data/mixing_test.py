import dataclasses
import pickle
import warnings

import numpy as np
import pytest

from data_pipelines import build
from jaxreid import config, sharding
from jaxreid.data import mixing, source
from jaxreid.data.batches import identity_sampling, train_pipeline
from jaxreid.data.tracklets import tracklet
from jaxreid.training import checkpoint, resume
from tests.fixtures import device_clips
from tests.fixtures import listed_folder as listing_fixture


def own(folder, people, cameras=(1, 2), *, names=False, seed=0):
    """A manifest of drawn images: people trained on, two tested on; returns its path."""
    rows, paths = ['tracklet,pid,camera,role,folder'], []
    test = {max(people) + 1, max(people) + 2}
    for person in (*people, *test):
        for camera in cameras:
            where = f'{person}/{camera}'
            paths += [f'{where}/{frame}.png' for frame in range(3)]
            role = 'query+gallery' if person in test else 'train'
            rows.append(f'{where},{f"p{person}" if names else person},{camera},{role},{where}')
    listing_fixture.draw(folder, [f'{seed}.png'] * seed + paths)  # another picture for another seed
    path = folder / 'own.csv'
    path.write_text('\n'.join(rows))
    return path


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Three manifests whose ids, cameras and paths collide; the last has names."""
    first = own(tmp_path_factory.mktemp('first'), (3, 5))
    second = own(tmp_path_factory.mktemp('second'), (1, 2, 3), (0, 2), seed=1)
    third = own(tmp_path_factory.mktemp('third'), (1, 2), names=True, seed=2)
    return config.Data(
        dataset='manifest', root=str(first), also=(f'manifest={second}', f'manifest={third}'), height=16, width=8
    )


def alone(data):
    return [source.read(dataclasses.replace(data, also=())), *map(source.read, mixing.settings(data))]


def test_ids_and_cameras_never_collide_and_the_first_keeps_its_own(data):
    mixed, parts = source.read(data), alone(data)
    assert mixed.train[: len(parts[0].train)] == parts[0].train
    assert mixed.test == parts[0].test
    assert (mixed.query.tolist(), mixed.gallery.tolist()) == (parts[0].query.tolist(), parts[0].gallery.tolist())
    assert [len(part.train) for part in parts] == [4, 6, 4]
    start, seen_pids, seen_cameras = 0, {t.pid for t in mixed.test}, {t.camera for t in mixed.test}
    for number, part in enumerate(parts):
        rows = mixed.train[start : start + len(part.train)]
        start += len(part.train)
        pids, cameras = {t.pid for t in rows}, {t.camera for t in rows}
        assert not pids & seen_pids
        if number:
            assert not cameras & seen_cameras
        seen_pids, seen_cameras = seen_pids | pids, seen_cameras | cameras
        for moved, original in zip(rows, part.train, strict=True):  # one to one, inside a data set
            assert moved.frames == original.frames
            assert [t.pid == moved.pid for t in rows] == [t.pid == original.pid for t in part.train]
            assert [t.camera == moved.camera for t in rows] == [t.camera == original.camera for t in part.train]
    assert start == len(mixed.train)
    assert len({t.name for t in mixed.train}) == len(mixed.train)
    named = [mixed.pid_names.get(t.pid) for t in mixed.train]
    second, third = map(source.describe, mixing.settings(data))
    assert named[:4] == [None] * 4
    assert named[4:] == [f'{second} {i}' for i in (1, 1, 2, 2, 3, 3)] + [f'{third} p{i}' for i in (1, 1, 2, 2)]
    assert second.startswith('manifest second')


def test_ids_and_cameras_from_zero_or_below_are_moved_beyond_those_before_with_their_gaps():
    def dataset(*people):
        train = tuple(tracklet.Tracklet(f't{i}', pid, camera, ('x.jpg',)) for i, (pid, camera) in enumerate(people))
        return tracklet.Dataset('', train, (), np.zeros(0, bool), np.zeros(0, bool))

    mixed = mixing.mix(dataset((3, 1), (1, 2)), [('b', dataset((-2, 0), (0, 3), (5, 0))), ('c', dataset((4, 2)))])
    assert [(t.pid, t.camera) for t in mixed.train] == [(3, 1), (1, 2), (4, 3), (6, 6), (11, 3), (15, 8)]
    assert mixed.pid_names == {4: 'b -2', 6: 'b 0', 11: 'b 5', 15: 'c 4'}


def test_labels_are_a_function_of_the_data_sets_alone(data, monkeypatch):
    expected = tracklet.label_map(source.read(data).train)
    assert sorted(expected.values()) == list(range(7))
    for seed in range(3):
        with monkeypatch.context() as patch:
            listing_fixture.shuffle(patch, seed)
            assert tracklet.label_map(source.read(data).train) == expected
    only = tracklet.label_map(alone(data)[0].train)
    assert {pid: expected[pid] for pid in only} == only


def test_the_store_reads_every_row_from_its_own_root(data):
    mixed, parts = source.read(data), alone(data)
    store = source.store(data, mixed, split='train')
    frames = np.array([2, 0])
    expected = [
        source.store(settings, part, split='train').read(row, frames)
        for settings, part in zip([dataclasses.replace(data, also=()), *mixing.settings(data)], parts, strict=True)
        for row in range(len(part.train))
    ]
    ram = source.training_store(dataclasses.replace(data, store='ram'), mixed, sharding.make_mesh())
    for copy in (store, pickle.loads(pickle.dumps(store)), ram):
        for row, images in enumerate(expected):
            np.testing.assert_array_equal(copy.read(row, frames), images)
    assert len({images.tobytes() for images in expected}) == len(expected)  # a wrong root would show
    assert store.frame_shape == (16, 8, 3)
    assert source.store(data, mixed, split='test').read(0, frames).shape == (2, 16, 8, 3)


def test_batches_of_mixed_data_on_the_devices_are_those_of_their_folders_to_the_bit(data, tmp_path):
    mixed = source.read(data)
    experiment = config.Experiment(data=data)
    experiment.sampler = config.Sampler(num_ids=4, tracklets_per_id=2, frames=3, stride_frames=1)
    labels = tracklet.label_map(mixed.train)
    build.build('manifest', data.root, str(tmp_path))
    on_devices = dataclasses.replace(data, store='device')
    batches = {}
    for place, settings in {
        'folder': data,
        'device': on_devices,
        'device, from records': dataclasses.replace(on_devices, records=str(tmp_path)),
    }.items():
        read = source.read(settings)
        assert read.train == mixed.train
        store = source.training_store(settings, read, sharding.make_mesh())
        with train_pipeline.batches(read.train, store, labels, experiment, start_step=0) as stream:
            batches[place] = [next(stream) for _ in range(5)]
        if place != 'folder':
            for batch in batches[place]:
                batch |= device_clips.clips_of(store, batch.pop('rows'))
    for one, *others in zip(*batches.values(), strict=True):
        for other in others:
            assert one.keys() == other.keys() == {'clips', 'labels', 'index'}
            for name in one:
                assert one[name].dtype == other[name].dtype
                np.testing.assert_array_equal(one[name], other[name])
    drawn = {int(label) for batch in batches['folder'] for label in batch['labels']}
    assert drawn == set(labels.values())  # of all three


def test_pieces_of_long_tracklets_and_flow_are_found_in_their_own_data_set(data, tmp_path):
    data = dataclasses.replace(data, dense_frames=1, flow='tvl1', flow_folder=str(tmp_path / 'flow'))
    mixed = source.read(data)
    assert len(mixed.train) == 3 * 14
    store = source.store(data, mixed, split='train')
    rows = [0, 12, 30]  # the first piece of each data set
    assert [mixed.train[row].name for row in rows] == ['3/1@0', '1:1/0@0', '2:1/1@0']
    flows = [store.read_flow(row, np.array([0])) for row in rows]
    assert len({flow.tobytes() for flow in flows}) == 3
    kept = sorted(p.relative_to(tmp_path / 'flow').parts[0] for p in (tmp_path / 'flow').rglob('*.npy'))
    assert len(set(kept)) == 3
    assert kept[0].startswith('manifest-')
    again = source.store(data, mixed, split='train')
    np.testing.assert_array_equal([again.read_flow(row, np.array([0])) for row in rows], flows)


def test_corrupt_frames_of_all_data_sets_are_counted(data, tmp_path):
    broken = own(tmp_path, (1, 2))
    (tmp_path / '1' / '1' / '1.png').write_bytes(b'no image')
    data = dataclasses.replace(data, also=(f'manifest={broken}',))
    mixed = source.read(data)
    store = source.store(data, mixed, split='train')
    store.read(4, np.array([0, 1]))
    assert store.skipped == 1


@pytest.mark.parametrize('kind', config.choices('sampler.kind'))
def test_every_sampler_draws_from_all_data_sets(data, kind):
    mixed = source.read(data)
    experiment = config.Experiment(data=data)
    experiment.sampler = config.Sampler(kind=kind, num_ids=3, tracklets_per_id=2)
    sampler = train_pipeline.sampler(mixed.train, experiment)
    assert isinstance(sampler, identity_sampling.IdentitySampler)
    drawn = {int(row) for step in range(20 * sampler.steps_per_epoch) for row in sampler.tracklets(step)}
    assert drawn == set(range(len(mixed.train)))
    if kind in ('identity_epoch_cameras', 'camera_epoch_distinct'):
        pairs = sampler.tracklets(0).reshape(3, 2)
        assert all(mixed.train[one].camera != mixed.train[other].camera for one, other in pairs)


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ('dukev', 'expected dukev=ROOT'),
        ('market=/x', "'market' is no data set"),
        ('/data/mars', 'expected NAME=ROOT'),
        ('ilids:10=/x', "after 'ilids' and a colon 0, 1, .*, not '10'"),
        ('mars:1=/x', "after 'mars' and a colon nothing may follow"),
        ('synthetic:small=', "after 'synthetic' and a colon tiny, demo"),
    ],
)
def test_entries_that_name_no_data_set_are_refused(entry, message):
    with pytest.raises(config.ConfigError, match=message):
        config.validate(config.Experiment(data=config.Data(also=(entry,))))


def test_entries_choose_split_and_preset_and_take_over_how_frames_are_read():
    data = config.Data(
        dataset='mars', root='/m', also=('ilids:3=/i', 'prid=/p', 'synthetic:tiny='), part='validation', height=64
    )
    config.validate(config.Experiment(data=data))
    made = mixing.settings(data)
    assert [(one.dataset, one.root, one.split, one.part, one.height) for one in made] == [
        ('ilids', '/i', '3', 'official', 64),
        ('prid', '/p', '0', 'official', 64),
        ('synthetic', '', '0', 'official', 64),
    ]
    assert made[2].preset == 'tiny'
    assert {(one.store, one.records) for one in made} == {('folder', '')}
    assert source.describe(data) == 'mars (validation) + ilids split 3 + prid split 0 + synthetic tiny'


def test_with_records_an_entry_without_a_root_is_among_them_and_one_with_a_root_is_not():
    data = config.Data(dataset='mars', store='records', records='/r', also=('dukev=', 'prid=/p'))
    config.validate(config.Experiment(data=data))
    assert [(one.root, one.store, one.records) for one in mixing.settings(data)] == [
        ('', 'records', '/r'),
        ('/p', 'folder', ''),
    ]


def test_a_data_set_is_not_mixed_with_itself(data, tmp_path):
    link = tmp_path / 'link.csv'
    link.symlink_to(data.root)
    with pytest.raises(config.ConfigError, match='which is part of the run already'):
        source.read(dataclasses.replace(data, also=(f'manifest={link}',)))
    for twice in (
        {'dataset': 'ilids', 'root': '/i', 'also': ('ilids:3=/i',)},
        {'dataset': 'mars', 'root': '/m', 'records': '/r', 'also': ('mars=',)},
        {'dataset': 'mars', 'root': '/m', 'records': '/r', 'also': ('mars=/m',)},
        {'dataset': 'mars', 'records': 'gs://r', 'also': ('mars=',)},
        {'dataset': 'mars', 'root': '/m', 'records': '/r', 'also': ('prid:1=', 'prid:2=')},
        {'dataset': 'synthetic', 'preset': 'tiny', 'records': '/r', 'also': ('synthetic:tiny=',)},
    ):
        with pytest.raises(config.ConfigError, match='which is part of the run already'):
            mixing.settings(config.Data(**twice))
    mixing.settings(config.Data(dataset='mars', root='/m', records='/r', also=('dukev=', 'mars=/other')))


def test_a_run_resumes_with_its_data_sets_elsewhere_but_not_with_others(data, tmp_path):
    experiment = config.Experiment(data=data)
    saved = {'config': config.to_dict(experiment)}
    moved = dataclasses.replace(data, root='/other', also=tuple(entry + '/x' for entry in data.also))
    checkpoint.check_same_run(saved, config.Experiment(data=moved), tmp_path)
    for also in ((), data.also[:1], ('mars=/x', data.also[1])):
        with pytest.raises(checkpoint.CheckpointError, match=r'config\.data\.also'):
            checkpoint.check_same_run(saved, config.Experiment(data=dataclasses.replace(data, also=also)), tmp_path)


def test_a_run_of_an_older_version_resumes_and_its_split_was_a_number(tmp_path):
    experiment = config.Experiment(data=config.Data(dataset='prid', split='3'))
    saved = config.to_dict(experiment)
    del saved['data']['also'], saved['data']['frames_root']
    saved['data']['split'] = 3
    checkpoint.check_same_run({'config': saved}, experiment, tmp_path)
    saved['data']['split'] = 4
    with pytest.raises(checkpoint.CheckpointError, match=r"config\.data\.split: '4' before, '3' now"):
        checkpoint.check_same_run({'config': saved}, experiment, tmp_path)


def test_the_same_number_of_other_people_is_not_continued(tmp_path):
    saved = {'labels': {'1': 0, '2': 1}, 'pid_names': {'1': 'ann', '2': 'zoe'}}
    resume.check_labels(
        saved, {'labels': {'1': 0, '2': 1}, 'pid_names': {'1': 'ann', '2': 'zoe', '3': 'eve'}}, tmp_path
    )
    with pytest.raises(checkpoint.CheckpointError, match='trained on 2 identities'):
        resume.check_labels(saved, saved | {'pid_names': {'1': 'ann', '2': 'bob'}}, tmp_path)
    resume.check_labels({'labels': {'4': 0}}, {'labels': {'4': 0}, 'pid_names': {}}, tmp_path)  # of an older version


def test_validation_queries_come_from_the_first_data_set(data, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        first = own(tmp_path, range(1, 11))
        data = dataclasses.replace(data, root=str(first), part='validation')
        mixed = source.read(data)
    assert {t.pid for t in mixed.test} == {9, 10}
    assert len(mixed.train) == 2 * 8 + 6 + 4
