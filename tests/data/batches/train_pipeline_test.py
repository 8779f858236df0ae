import hashlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

from jaxreid import config
from jaxreid.data.batches import batch_iterator, clip_sampling, train_pipeline
from jaxreid.data.datasets import mars
from jaxreid.data.stores import folder_store
from jaxreid.data.tracklets import tracklet as tracklet_lib
from tests.fixtures import mars_folder as mars_fixture
from tests.fixtures import meshes


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return mars.read(mars_fixture.write(tmp_path_factory.mktemp('data') / 'mars'))


def _experiment(**data):
    experiment = config.Experiment()
    experiment.sampler = config.Sampler(num_ids=2, tracklets_per_id=2, frames=3, stride_frames=2)
    experiment.data = config.Data(**{'threads': 2, 'processes': 0, 'prefetch': 3, **data})
    return experiment


def _store(dataset, *, on_corrupt='error'):
    return folder_store.FolderStore(
        dataset.root, dataset.train, folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt=on_corrupt)
    )


def _take(dataset, n, *, experiment=None, store=None, start_step=0, **kwargs):
    labels = tracklet_lib.label_map(dataset.train)
    with train_pipeline.batches(
        dataset.train,
        store or _store(dataset),
        labels,
        experiment or _experiment(),
        start_step=start_step,
        **kwargs,
    ) as batches:
        return list(itertools.islice(batches, n))


def _assert_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys() == {'clips', 'labels', 'index'}
        for name in one:
            assert one[name].dtype == other[name].dtype
            np.testing.assert_array_equal(one[name], other[name])


def test_batches_hold_what_sampler_clip_rule_and_files_say(dataset):
    experiment = _experiment()
    sampler = train_pipeline.sampler(dataset.train, experiment)
    labels = {1: 0, 3: 1, 5: 2, 7: 3}
    files = {}
    for row, tracklet in enumerate(dataset.train):
        images = [np.asarray(Image.open(f'{dataset.root}/{path}').convert('RGB')) for path in tracklet.frames]
        files[row] = np.stack(images)
    for step, batch in enumerate(_take(dataset, 7, experiment=experiment)):
        rows = sampler.tracklets(step).tolist()
        assert batch['labels'].tolist() == [labels[dataset.train[row].pid] for row in rows]
        assert batch['index'].tolist() == [0, 1, 2, 3]
        assert batch['clips'].shape == (4, 3, 16, 8, 3)
        assert (batch['clips'].dtype, batch['labels'].dtype, batch['index'].dtype) == (np.uint8, np.int32, np.int32)
        for slot, (row, clip) in enumerate(zip(rows, batch['clips'], strict=True)):
            frames = [int(np.flatnonzero((files[row] == image).all((1, 2, 3)))[0]) for image in clip]
            n = len(files[row])
            # The same draws as ever, so that a run that was stopped continues with a later version.
            rng = np.random.default_rng((experiment.train.seed, step // sampler.steps_per_epoch, step, slot))
            drawn = clip_sampling.train_clip(n, rng, kind=experiment.sampler.clip, frames=3, stride_frames=2)
            np.testing.assert_array_equal(clip, files[row][drawn])
            assert frames == sorted(frames)
            if n >= 6:
                assert np.diff(frames).tolist() == [2, 2]
            elif n >= 3:
                assert len(set(frames)) == 3


def test_clips_of_one_tracklet_are_drawn_apart_within_a_batch_and_from_step_to_step(tmp_path):
    two = mars.read(mars_fixture.write(tmp_path / 'mars', train=((1, 1, 60), (2, 1, 60))))
    batches = _take(two, 10)
    for label in (0, 1):
        clips = [clip.tobytes() for batch in batches for clip in batch['clips'][batch['labels'] == label]]
        assert len(clips) == 20
        assert len(set(clips)) > 12  # of 56 possible clips


class _RememberingStore:
    """Answers with black frames and remembers what was asked for."""

    frame_shape = (2, 1, 3)
    skipped = 0

    def __init__(self):
        self.asked = []

    def read(self, tracklet, frames):
        self.asked.append(frames.tolist())
        return np.zeros((len(frames), 2, 1, 3), np.uint8)

    def read_flow(self, tracklet, frames):
        return np.stack([np.full((2, 1, 2), (tracklet, frame), np.float16) for frame in frames.tolist()])


def test_flow_is_that_of_the_sampled_frames_and_changes_nothing_else(dataset):
    for flow in ('tvl1', 'zeros'):
        experiment = _experiment(flow=flow)
        store, rows = _RememberingStore(), train_pipeline.sampler(dataset.train, experiment)
        for step, batch in enumerate(_take(dataset, 3, experiment=experiment, store=store)):
            assert (batch['flow'].shape, batch['flow'].dtype) == ((4, 3, 2, 1, 2), np.float16)
            asked = batch['flow'][:, :, 0, 0]
            assert asked[:, :, 0].tolist() == [[row] * 3 for row in rows.tracklets(step).tolist()]
            for frames in asked[:, :, 1].astype(int).tolist():
                assert frames in store.asked
    with_flow = _take(dataset, 4, experiment=_experiment(flow='zeros'), store=_flow_store(dataset))
    flow = [batch.pop('flow') for batch in with_flow]
    assert not any(f.any() for f in flow)
    _assert_equal(with_flow, _take(dataset, 4))


def _flow_store(dataset):
    return folder_store.FolderStore(
        dataset.root,
        dataset.train,
        folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt='error', flow='zeros'),
    )


def test_draws_of_a_slot_differ_between_steps_of_an_epoch():
    tracklets = [
        tracklet_lib.Tracklet(name=str(pid), pid=pid, camera=1, frames=('x.jpg',) * 900) for pid in range(1, 41)
    ]
    experiment = _experiment(threads=1)
    assert train_pipeline.sampler(tracklets, experiment).steps_per_epoch == 20
    store = _RememberingStore()
    labels = tracklet_lib.label_map(tracklets)
    with train_pipeline.batches(tracklets, store, labels, experiment, start_step=0) as batches:
        for _ in range(20):
            next(batches)
    starts = [frames[0] for frames in store.asked[:80]]
    assert len(set(starts)) > 70  # of 896 places


@pytest.mark.parametrize(('threads', 'prefetch'), [(1, 1), (2, 4), (4, 1)])
def test_sequence_does_not_depend_on_threads_or_prefetch(dataset, threads, prefetch):
    experiment = _experiment(threads=threads, prefetch=prefetch)
    _assert_equal(_take(dataset, 8, experiment=experiment), _take(dataset, 8))


@pytest.mark.parametrize('start_step', [1, 3, 9])
def test_a_run_that_starts_at_a_step_continues_the_sequence(dataset, start_step):
    _assert_equal(_take(dataset, 4, start_step=start_step), _take(dataset, 4 + start_step)[start_step:])


def test_sequence_depends_on_the_seed(dataset):
    experiment = _experiment()
    experiment.train.seed = 1
    ours, others = _take(dataset, 3), _take(dataset, 3, experiment=experiment)
    assert any((one['clips'] != other['clips']).any() for one, other in zip(ours, others, strict=True))


@pytest.mark.parametrize('owners', [[0], [0, 1], [0, 1, 2, 3], [0, 1, 1, 0], [2, 0, 1, 0]])
def test_hosts_hold_the_rows_of_their_devices_in_the_order_of_the_mesh(dataset, owners):
    shares = {host: _take(dataset, 3, mesh=meshes.seen_by(host, owners)) for host in set(owners)}
    for number, whole in enumerate(_take(dataset, 3)):
        for name, value in whole.items():
            parts = {host: list(np.split(steps[number][name], owners.count(host))) for host, steps in shares.items()}
            np.testing.assert_array_equal(np.concatenate([parts[host].pop(0) for host in owners]), value)


def test_batch_that_does_not_split_over_devices_is_refused(dataset):
    with pytest.raises(ValueError, match='4 clips do not split over 3 devices'):
        _take(dataset, 1, mesh=meshes.seen_by(0, [0, 1, 2]))


def test_error_of_a_thread_reaches_the_caller_with_its_message(tmp_path):
    broken = mars.read(mars_fixture.write(tmp_path / 'mars', train=((1, 1, 2), (2, 1, 2))))
    path = f'{broken.root}/{broken.train[1].frames[0]}'
    with open(path, 'wb') as file:
        file.write(b'not a picture')
    with pytest.raises(ValueError, match=r'Unreadable frame .*0002C1T0001F001.jpg'):
        _take(broken, 5)


def test_skipped_frames_are_counted_up_to_the_newest_batch(tmp_path):
    broken = mars.read(mars_fixture.write(tmp_path / 'mars', train=((1, 1, 2), (2, 1, 2))))
    with open(f'{broken.root}/{broken.train[1].frames[0]}', 'wb') as file:
        file.write(b'not a picture')
    experiment = _experiment()
    experiment.sampler.clip = 'begin_crop'  # loops 0 1 0: frame 0 is read once for each of two clips
    with train_pipeline.batches(
        broken.train,
        _store(broken, on_corrupt='skip_frame'),
        {1: 0, 2: 1},
        experiment,
        start_step=0,
    ) as batches:
        assert batches.skipped == 0
        next(batches)
        assert batches.skipped in range(2, 2 * 4 + 1)  # at least its own, at most those of the batches ahead too


class _Counting:
    """Counts as many replaced frames as the batch says that it was told when it was made."""

    skipped = 0

    def load(self, item):
        self.skipped = item
        return {'item': np.array(item)}


def test_a_batch_that_was_made_before_those_it_follows_takes_no_count_back():
    store = _Counting()
    with batch_iterator.BatchIterator([3, 1, 5, 4], store.load, store, threads=1, processes=0, prefetch=1) as batches:
        assert [(int(batch['item']), batches.skipped) for batch in batches] == [(3, 3), (1, 3), (5, 5), (4, 5)]


def test_closed_iterator_gives_no_more_batches(dataset):
    batches = train_pipeline.batches(
        dataset.train, _store(dataset), tracklet_lib.label_map(dataset.train), _experiment(), start_step=0
    )
    batches.start()
    next(batches)
    batches.close()
    batches.close()
    with pytest.raises(ValueError, match='closed'):
        next(batches)


_IN_PROCESSES = """
    import hashlib, json, sys
    from jaxreid import config
    from jaxreid.data.batches import train_pipeline
    from jaxreid.data.datasets import mars
    from jaxreid.data.stores import folder_store
    from jaxreid.data.tracklets import tracklet as tracklet_lib

    if __name__ == '__main__':
        root, broken = sys.argv[1:]
        experiment = config.Experiment()
        experiment.sampler = config.Sampler(num_ids=2, tracklets_per_id=2, frames=3, stride_frames=2)
        experiment.data.threads, experiment.data.prefetch = 1, 2

        def batches(root, on_corrupt, start_step, processes=1):
            experiment.data.processes = processes
            dataset = mars.read(root)
            store = folder_store.FolderStore(
                root, dataset.train,
                folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt=on_corrupt))
            return train_pipeline.batches(
                dataset.train, store, tracklet_lib.label_map(dataset.train), experiment, start_step=start_step)

        with batches(root, 'error', 3, processes=2) as iterator:
            digests = [hashlib.sha256(next(iterator)['clips'].tobytes()).hexdigest() for _ in range(5)]
        with batches(broken, 'skip_frame', 0) as iterator:
            next(iterator), next(iterator)
            skipped = iterator.skipped
        failing = batches(broken, 'error', 0)
        try:
            for _ in range(4):
                next(failing)
            message = 'none'
        except ValueError as error:
            message = str(error)
        left_open = batches(root, 'error', 0)
        next(left_open)  # the program must end nevertheless
        print(json.dumps({'digests': digests, 'skipped': skipped, 'message': message}))
"""


@pytest.mark.slow
def test_sequence_errors_and_counts_are_the_same_from_two_processes(dataset, tmp_path):
    broken = mars_fixture.write(tmp_path / 'broken', train=((1, 1, 2), (2, 1, 2)))
    for path in sorted((broken / 'bbox_train').rglob('*F001.jpg')):
        path.write_bytes(b'not a picture')
    script = tmp_path / 'script.py'
    script.write_text(textwrap.dedent(_IN_PROCESSES))
    root = str(pathlib.Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, str(script), dataset.root, str(broken)],
        env={**os.environ, 'PYTHONPATH': root},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    expected = [hashlib.sha256(batch['clips'].tobytes()).hexdigest() for batch in _take(dataset, 5, start_step=3)]
    assert result['digests'] == expected
    assert result['skipped'] >= 4
    assert 'Unreadable frame' in result['message']
    assert 'F001.jpg' in result['message']
