"""Flow ahead of training: every frame of both splits, once, where the store of a run finds it."""

import dataclasses
import json
import signal
import threading
import time

import numpy as np
import pytest

from data_pipelines import build, optical_flow
from jaxreid import config
from jaxreid.data import source
from jaxreid.data.flow import optical_flow as tv_l1
from jaxreid.data.flow import owner as flow_owner
from jaxreid.data.flow import tv_l1_jax
from jaxreid.data.stores import folder_store
from jaxreid.process import digest
from tests.fixtures import mars_folder as mars_fixture

TRAIN = ((1, 1, 3), (2, 2, 1))
TEST = ((3, 1, 2), (3, 2, 2))


def settings(tmp_path, **changes):
    """Of a small data set in MARS layout."""
    root = mars_fixture.write(tmp_path / 'data', train=TRAIN, test=TEST, query=(0,))
    given = {'flow': 'tvl1', 'flow_folder': str(tmp_path / 'flow'), 'height': 16, 'width': 8} | changes
    return config.Data(dataset='mars', root=str(root), **given)


def flows(data):
    """Of every frame, in a process of its own as it were."""
    source._flow_cache.cache_clear()
    dataset = source.read(data)
    made = []
    for split, tracklets in (('train', dataset.train), ('test', dataset.test)):
        store = source.store(data, dataset, split=split)
        made += [store.read_flow(row, np.arange(len(tracklet.frames))) for row, tracklet in enumerate(tracklets)]
    return np.concatenate(made)


def test_a_run_after_it_computes_nothing(tmp_path, monkeypatch):
    data = settings(tmp_path)
    assert optical_flow.compute(data, workers=2) == 8
    monkeypatch.setattr(tv_l1, 'tv_l1', None)
    assert flows(data).shape == (8, 16, 8, 2)


def test_the_jax_engine_goes_on_where_it_stopped_and_stores_what_training_would_compute(tmp_path, monkeypatch):
    data = settings(tmp_path, flow_engine='jax')
    on_the_fly = flows(dataclasses.replace(data, flow_folder=''))
    assert on_the_fly.any()
    assert optical_flow.compute(data, workers=2) == 8
    np.testing.assert_array_equal(flows(data), on_the_fly)

    files = sorted((tmp_path / 'flow' / 'tvl1_jax-16x8').rglob('*.npy'))
    assert len(files) == 4  # 2 + 0 + 1 + 1 pairs; last frames repeat, a lone frame has none
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-9])
    calls = []

    def of_frames(first, second, real=tv_l1_jax.of_frames):
        calls.extend(first)
        return real(first, second)

    monkeypatch.setattr(tv_l1_jax, 'of_frames', of_frames)
    source._flow_cache.cache_clear()
    optical_flow.compute(data, workers=1)
    assert len(calls) == 2
    np.testing.assert_array_equal(flows(data), on_the_fly)
    assert len(calls) == 2


def test_an_unreadable_frame_ends_the_run_at_once(tmp_path, monkeypatch):
    data = settings(tmp_path, on_corrupt_train='error')
    monkeypatch.setattr(optical_flow, '_FRAMES_PER_TASK', 1)
    read = []

    def read_flows(store, wanted):
        read.append(wanted)
        raise ValueError('Unreadable frame')

    monkeypatch.setattr(folder_store.FolderStore, 'read_flows', read_flows)
    with pytest.raises(ValueError, match='Unreadable frame'):
        optical_flow.compute(data, workers=1)
    assert len(read) < 4


def test_a_flow_folder_is_of_one_data_set_wherever_it_lies_and_however_it_is_split(tmp_path):
    data = settings(tmp_path)
    optical_flow.compute(data, workers=2)
    (tmp_path / 'data').rename(tmp_path / 'moved')
    moved = dataclasses.replace(data, root=str(tmp_path / 'moved'))
    expected = flows(moved)
    build.build('mars', moved.root, str(tmp_path / 'out'))
    packed = dataclasses.replace(moved, root='', store='records', records=str(tmp_path / 'out'))
    np.testing.assert_array_equal(flows(packed), expected)
    flows(dataclasses.replace(moved, dense_frames=1))

    other = mars_fixture.write(tmp_path / 'other', train=TRAIN, test=TEST, query=(0,), height=18)
    strange = dataclasses.replace(data, root=str(other))
    for act in (
        lambda: flows(strange),
        lambda: optical_flow.compute(strange, workers=1),
        lambda: build_flow_of(strange, tmp_path),
    ):
        with pytest.raises(
            ValueError, match=r'flow holds the flow of mars in .*/data; bbox_.*jpg is another image'
        ) as e:
            act()
        assert f'in mars in {other}. Give every data set a flow folder of its own' in str(e.value)
    flows(dataclasses.replace(strange, flow_folder=str(tmp_path / 'another')))
    flows(dataclasses.replace(strange, flow='zeros'))


def build_flow_of(data, place):
    """Into records of its own."""
    build.build('mars', data.root, str(place / 'others'))
    build.build_flow('mars', data.root, str(place / 'others'), flow_folder=data.flow_folder, height=16, width=8)


def test_what_a_flow_folder_says_about_itself_may_be_damaged_and_its_frames_may_be_gone(tmp_path):
    data = settings(tmp_path)
    flows(data)
    file = tmp_path / 'flow' / flow_owner.FILE
    whole = file.read_text()
    for text in ('', '[]', '{"dataset": "mars", "root": "", "frames": {}}', whole[:-9]):
        file.write_text(text)
        with pytest.raises(
            ValueError,
            match=r'dataset.json (does not hold what|names no frames).*; remove it if .* holds the flow of mars',
        ):
            flows(data)
    frames = {'nowhere.jpg': 'a', 'gone.jpg': 'b'}
    was = json.loads(whole)
    kept = {'dataset': was['dataset'], 'root': was['root']}
    file.write_text(json.dumps(digest.signed(kept | {'frames': frames})))
    with pytest.raises(ValueError, match=r'; nowhere.jpg is another image, or none, in mars'):
        flows(data)
    file.write_text(json.dumps(digest.signed(kept | {'frames': frames | was['frames']})))
    flows(data)


def test_ctrl_c_lets_no_frame_begin_and_leaves_whole_files(tmp_path, monkeypatch):
    data = settings(tmp_path)
    read, count = folder_store.FolderStore.read_flows, []

    def read_flows(store, wanted):
        count.append(wanted)
        if len(count) == 2:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.3)  # the rest of the task waits behind this frame
        return read(store, wanted)

    monkeypatch.setattr(folder_store.FolderStore, 'read_flows', read_flows)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs deaf to Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            optical_flow.compute(data, workers=1)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(count) == 2
    assert not list((tmp_path / 'flow').rglob('.*'))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [({'flow': 'zeros'}, 'nothing to compute'), ({'flow_folder': ''}, 'config.data.flow_folder')],
)
def test_settings_that_give_no_flow_are_refused(tmp_path, changes, message):
    with pytest.raises(config.ConfigError, match=message):
        optical_flow.compute(settings(tmp_path, **changes), workers=1)
