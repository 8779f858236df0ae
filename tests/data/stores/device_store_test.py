"""Frames in host or device memory are, bit by bit, those of the folder, and so is what is learned from them."""

import functools
import itertools
import re
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxreid import config, sharding
from jaxreid.data.batches import train_pipeline
from jaxreid.data.datasets import mars
from jaxreid.data.stores import device_store, folder_store, packed_frames, ram_store
from jaxreid.data.tracklets import tracklet as tracklet_lib
from jaxreid.layers import batch_norm, head
from jaxreid.models import output
from jaxreid.process import host_memory
from jaxreid.training import optimizer, step
from tests.fixtures import device_clips
from tests.fixtures import mars_folder as mars_fixture

HEIGHT, WIDTH = 16, 8


TRAIN = ((1, 1, 4), (1, 2, 3), (3, 1, 5), (3, 3, 1), (5, 2, 4), (5, 5, 2), (7, 2, 2), (7, 6, 3))  # id, camera, frames


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return mars.read(mars_fixture.write(tmp_path_factory.mktemp('data') / 'mars', train=TRAIN))


def folder(dataset, *, on_corrupt='error', flow='off'):
    return folder_store.FolderStore(
        dataset.root,
        dataset.train,
        folder_store.Reading(
            height=HEIGHT,
            width=WIDTH,
            resize='bicubic',
            on_corrupt=on_corrupt,
            flow=flow,
            flow_folder=f'{dataset.root}/flow',
        ),
    )


def in_memory(kind, store, tracklets, *, devices=8, with_flow=False):
    """A RamStore or a DeviceStore."""
    arguments = {'with_flow': with_flow, 'threads': 2, 'progress': False}
    if kind == 'ram':
        return ram_store.RamStore(store, tracklets, **arguments)
    return device_store.DeviceStore(store, tracklets, sharding.make_mesh(jax.devices()[:devices]), **arguments)


class MadeUp:
    """A store of random bytes, without files; remembers the most frames that were asked for."""

    skipped = 0

    def __init__(self, lengths, seed=0, size=(HEIGHT, WIDTH)):
        rng = np.random.default_rng(seed)
        self.frame_shape = (*size, 3)
        names = [str(i) for i in range(len(lengths))]
        self.tracklets = [
            tracklet_lib.Tracklet(name=name, pid=i // 2 + 1, camera=i % 2, frames=('x.jpg',) * lengths[i])
            for i, name in enumerate(names)
        ]
        self.images = [rng.integers(0, 256, (n, *size, 3), np.uint8) for n in lengths]
        self.flows = [rng.integers(0, 2**16, (n, *size, 2), np.uint16) for n in lengths]

    def read(self, tracklet, frames):
        return self.images[tracklet][frames]

    def read_flow(self, tracklet, frames):
        return self.flows[tracklet][frames].view(np.float16)  # not-a-numbers, infinities and negative zeros among them


@pytest.mark.parametrize('devices', [1, 8])
def test_batches_of_folder_ram_and_device_are_the_same_bits(dataset, devices):
    experiment = config.Experiment()
    experiment.sampler = config.Sampler(num_ids=4, tracklets_per_id=2, frames=3, stride_frames=2)
    experiment.data.flow = 'tvl1'
    labels = tracklet_lib.label_map(dataset.train)
    read_from = folder(dataset, flow='tvl1')
    kinds = {
        'folder': read_from,
        'ram': in_memory('ram', read_from, dataset.train, with_flow=True),
        'device': in_memory('device', read_from, dataset.train, devices=devices, with_flow=True),
    }
    batches = {}
    for kind, store in kinds.items():
        with train_pipeline.batches(dataset.train, store, labels, experiment, start_step=2) as stream:
            batches[kind] = list(itertools.islice(stream, 6))
    moving = 0
    for one, ram, device in zip(*batches.values(), strict=True):
        assert device.keys() == {'rows', 'labels', 'index'}
        device |= device_clips.clips_of(kinds['device'], device.pop('rows'), with_flow=True)
        assert one.keys() == ram.keys() == device.keys() == {'clips', 'flow', 'labels', 'index'}
        for name in one:
            assert one[name].dtype == ram[name].dtype == device[name].dtype
            assert one[name].tobytes() == ram[name].tobytes() == device[name].tobytes()
        moving += one['flow'].any()
    assert moving == 6


def ragged_all_to_all(operand, output, input_offsets, send_sizes, output_offsets, recv_sizes, *, axis_name):
    """What `jax.lax.ragged_all_to_all` says that it does, which CPUs cannot, in its plainest form."""
    name = {'axis_name': axis_name, 'tiled': True}
    everyone = jax.lax.all_gather(operand, axis_name)
    of_slice = np.repeat(np.arange(len(everyone)), len(send_sizes) // len(everyone))
    first, sizes, at = (
        jax.lax.all_to_all(x, split_axis=0, concat_axis=0, **name) for x in (input_offsets, send_sizes, output_offsets)
    )
    wrong = (sizes != recv_sizes).any()
    for source, start, size, place in zip(of_slice, first, sizes, at):
        moved = jnp.roll(everyone[source], -start, 0)[: len(output)]
        here = (jnp.arange(len(output)) >= place) & (jnp.arange(len(output)) < place + size)
        moved = jnp.roll(jnp.pad(moved, [(0, len(output) - len(moved)), (0, 0), (0, 0)]), place, 0)
        output = jnp.where(here[:, None, None], moved, output)
    return jnp.where(wrong, jnp.uint8(0), output)


@pytest.mark.parametrize('size', [(HEIGHT, WIDTH), (15, 7)], ids=['lanes', 'padded'])
@pytest.mark.parametrize('singly', [False, True])
@pytest.mark.parametrize('lengths', [[5, 1, 9, 2], [1], [1, 2]])  # more frames than devices, or fewer
def test_every_frame_of_every_device_comes_back_whatever_its_bytes(lengths, singly, size, monkeypatch):
    monkeypatch.setattr(jax.lax, 'ragged_all_to_all', ragged_all_to_all)
    monkeypatch.setattr(packed_frames, '_CHUNK_BYTES', 4 * HEIGHT * WIDTH * 7 + 1)  # four frames at a time
    monkeypatch.setattr(packed_frames, '_TASK_ROWS', 3)
    made_up = MadeUp(lengths, size=size)
    store = in_memory('device', made_up, made_up.tracklets, with_flow=True)
    rows = np.random.default_rng(1).permutation(sum(lengths)).astype(np.int32)
    rows = np.resize(rows, (8, 3))
    clips = device_clips.clips_of(store, rows, with_flow=True, singly=singly)
    np.testing.assert_array_equal(clips['clips'], np.concatenate(made_up.images)[rows])
    np.testing.assert_array_equal(clips['flow'].view(np.uint16), np.concatenate(made_up.flows)[rows])
    ram = in_memory('ram', made_up, made_up.tracklets, with_flow=True)
    for row, length in enumerate(lengths):
        frames = np.random.default_rng(2).integers(0, length, 4)
        np.testing.assert_array_equal(ram.read(row, frames), made_up.images[row][frames])
        np.testing.assert_array_equal(ram.read_flow(row, frames).view(np.uint16), made_up.flows[row][frames])


def test_the_host_decodes_piece_by_piece_and_each_device_holds_its_part_alone(monkeypatch):
    monkeypatch.setattr(packed_frames, '_CHUNK_BYTES', 3 * HEIGHT * WIDTH * 3)
    made_up, pieces = MadeUp([30, 31]), []
    decode = packed_frames.Decoder.decode
    monkeypatch.setattr(
        packed_frames.Decoder, 'decode', lambda self, start, out: (pieces.append(len(out)), decode(self, start, out))
    )
    store = in_memory('device', made_up, made_up.tracklets)
    assert sum(pieces) == 61
    assert max(pieces) == 3
    assert [shard.data.shape for shard in store.frames.addressable_shards] == [(8, HEIGHT * WIDTH * 3 // 128, 128)] * 8


def test_each_host_decodes_the_parts_of_its_own_devices_and_no_others():
    mesh = types.SimpleNamespace(size=4, devices=np.array(list('abcd')), local_devices=['c', 'd'])
    assert sharding.local_rows(17, mesh) == {'c': range(10, 15), 'd': range(15, 17)}
    assert sharding.local_rows(2, mesh) == {'c': range(2, 2), 'd': range(2, 2)}


@pytest.mark.parametrize('kind', ['ram', 'device'])
def test_a_corrupt_frame_is_replaced_and_counted_once_or_named(tmp_path, kind):
    broken = mars.read(mars_fixture.write(tmp_path / 'mars'))
    for row, frame in ((0, 4), (3, 39)):
        (tmp_path / 'mars' / broken.train[row].frames[frame]).write_bytes(b'')
    store = in_memory(kind, folder(broken, on_corrupt='skip_frame'), broken.train)
    assert store.skipped == 2
    wanted = np.asarray([3, 4, 5, 4])
    expected = folder(broken, on_corrupt='skip_frame').read(0, wanted)
    if kind == 'ram':
        np.testing.assert_array_equal(store.read(0, wanted), expected)
    else:
        rows = store.packing.rows(np.zeros(8, int), np.tile(wanted, (8, 1)))
        np.testing.assert_array_equal(device_clips.clips_of(store, rows)['clips'], np.tile(expected, (8, 1, 1, 1, 1)))
    with pytest.raises(ValueError, match=re.escape(broken.train[0].frames[4])):
        in_memory(kind, folder(broken), broken.train)


@pytest.mark.parametrize('kind', ['ram', 'device'])
def test_frames_that_do_not_fit_are_refused_before_the_first_is_decoded(kind, monkeypatch):
    made_up = MadeUp([9, 8])
    monkeypatch.setattr(made_up, 'read', lambda *_: pytest.fail('decoded'))
    size = HEIGHT * WIDTH * 3
    needed, free = (17 * size, 17 * size - 1) if kind == 'ram' else (3 * size, 24 * size - 1)  # 17 over 8 devices: 3
    monkeypatch.setattr(host_memory, 'available_bytes', lambda: free)
    with pytest.raises(ValueError, match=f'{needed:,} bytes') as refused:
        in_memory(kind, made_up, made_up.tracklets)
    available = free if kind == 'ram' else free // 8
    for words in (f'{available:,} ', 'data.store=folder', 'records', 'ram, ', 'nothing is decoded'):
        assert words in str(refused.value)
    monkeypatch.undo()
    monkeypatch.setattr(host_memory, 'available_bytes', lambda: free + 1)
    in_memory(kind, made_up, made_up.tracklets)


def test_devices_that_know_their_memory_are_asked(monkeypatch):
    class Device:
        def memory_stats(self):
            return {'bytes_limit': 1000, 'bytes_in_use': 300}

    monkeypatch.setattr(host_memory, 'available_bytes', lambda: 80)
    assert device_store._available_bytes(Device(), 8) == 700
    assert device_store._available_bytes(jax.devices()[0], 8) == 10
    monkeypatch.undo()
    assert 2**20 < host_memory.available_bytes() < 2**50


@pytest.mark.parametrize(
    ('store', 'field', 'value', 'message'),
    [
        ('ram', 'data.processes', 2, 'would copy all frames: set data.processes=0'),
        ('device', 'data.processes', 1, 'would copy all frames: set data.processes=0'),
        ('ram', 'train.steps_per_dispatch', 4, 'set data.store=device, or 1 with data.store=ram'),
        ('device', 'train.steps_per_dispatch', 11, 'would never be made: .* is 10'),
    ],
)
def test_settings_that_cannot_go_with_a_store_are_refused(store, field, value, message):
    experiment = config.Experiment()
    experiment.data.store = store
    config.validate(experiment)
    section, name = field.split('.')
    setattr(getattr(experiment, section), name, value)
    with pytest.raises(config.ConfigError, match=message):
        config.validate(experiment)


STEPS = 3


class Network(nn.Module):
    """One convolution, BatchNorm over the global batch, mean over positions and frames, neck and classifier."""

    num_ids: int
    axis_name: str | None

    @nn.compact
    def __call__(self, clips, *, train):
        norm = functools.partial(batch_norm.BatchNorm, train=train, groups=1, axis_name=self.axis_name)
        x = nn.Conv(4, (3, 3), 2)(clips.reshape(-1, *clips.shape[2:]))
        x = nn.relu(norm()(x)).mean((1, 2)).reshape(*clips.shape[:2], -1).mean(1)
        embedding, logits = head.Head('a', self.num_ids, norm)(x)
        return output.ModelOutput(embedding, x, logits, {})


@pytest.fixture(scope='module')
def trained():
    """Metrics, state and program of six steps, by where frames came from and how many steps were made together."""
    e = config.Experiment()
    e.data.height, e.data.width = HEIGHT, WIDTH
    e.sampler = config.Sampler(num_ids=4, tracklets_per_id=2, frames=2, stride_frames=1)
    e.augment.translate_px = 1
    made_up = MadeUp([4000] * 12)
    labels = tracklet_lib.label_map(made_up.tracklets)
    mesh = sharding.make_mesh()
    adam = optimizer.build(e.optim, steps_per_epoch=5, epochs=2)
    train_step = step.make_train_step(Network(len(labels), sharding.AXIS), e, adam, mesh)
    variables = jax.device_get(step.init_variables(Network(len(labels), None), e, jax.random.key(1)))

    def run(store, steps):
        frames = store.frames if isinstance(store, device_store.DeviceStore) else None
        state = sharding.copy_to_all(step.create_state(variables, adam, 0), mesh)
        found = []
        with train_pipeline.batches(made_up.tracklets, store, labels, e, start_step=0) as batches:
            compiled = None
            for _ in range(6 // steps):
                together = sharding.shard_steps([next(batches) for _ in range(steps)], mesh)
                compiled = compiled or train_step.lower(state, together, frames).compile()
                state, metrics = compiled(state, together, frames)
                found.append(jax.device_get(metrics))
        leaves = {jax.tree_util.keystr(k): v for k, v in jax.tree_util.tree_leaves_with_path(jax.device_get(state))}
        return {k: np.concatenate([m[k] for m in found]) for k in found[0]}, leaves, compiled

    on_devices = in_memory('device', made_up, made_up.tracklets)
    return {
        'folder': run(made_up, 1),
        'device': run(on_devices, 1),
        'together': run(on_devices, STEPS),
        'frames': on_devices.frames,
    }


@pytest.mark.slow
def test_losses_and_parameters_are_the_same_bits_wherever_frames_come_from(trained):
    metrics, state, _ = trained['folder']
    ours, our_state, _ = trained['device']
    assert metrics.keys() == ours.keys()
    for name in metrics:
        assert metrics[name].shape == ours[name].shape == (6,)
        np.testing.assert_array_equal(metrics[name], ours[name], err_msg=name)
    assert len(set(metrics['loss'].tolist())) == 6
    for name in state:
        np.testing.assert_array_equal(state[name], our_state[name], err_msg=name)


def _convolutions_in_loops(program):
    """How many convolutions a compiled program makes inside loops, and how many outside."""
    text = {m[1]: m[2] for m in re.finditer(r'^(?:ENTRY )?%([\w.-]+) [^\n]*\{\n(.*?)^\}', program, re.M | re.S)}

    def reached(names):
        called = {n for name in names for n in re.findall(r'(?:calls|to_apply|body|condition)=%([\w.-]+)', text[name])}
        return names if called <= names else reached(names | called)

    looped = reached(set(re.findall(r'body=%([\w.-]+)', program)))
    count = {name: len(re.findall(r' convolution\(', body)) for name, body in text.items()}
    inside = sum(count[name] for name in looped)
    return inside, sum(count.values()) - inside


def test_a_step_on_its_own_is_no_loop(trained):
    """A loop of one turn: XLA's convolutions in it are nine times slower on CPU."""
    inside, outside = _convolutions_in_loops(trained['device'][2].as_text())
    assert (inside, outside > 1) == (0, True)
    inside, outside = _convolutions_in_loops(trained['together'][2].as_text())
    assert (inside > 1, outside) == (True, 0)


def test_steps_made_together_are_those_made_singly(trained):
    # A program with a loop rounds differently; Adam turns the noise of small gradients into whole steps of its rate.
    (one, _, _), (together, _, _) = trained['device'], trained['together']
    for name in one:
        assert together[name].shape == (6,)
    np.testing.assert_allclose(together['loss'], one['loss'], rtol=2e-3)
    np.testing.assert_allclose(together['loss'][0], one['loss'][0], rtol=1e-5)


def test_the_store_is_never_gathered_nor_copied(trained):
    frames = trained['frames']
    compiled = trained['together'][2]
    part = frames.nbytes // 8
    text = compiled.as_text()
    gathered = re.findall(r'= (?:\()?(\w+)\[([\d,]*)\][^=\n]* all-gather(?:-start)?\(', text)
    assert gathered, 'the rows are gathered, and embeddings for mining'
    for dtype, shape in gathered:
        size = np.prod([int(n) for n in shape.split(',') if n], dtype=int)
        assert size < part / 100, (dtype, shape)
    assert re.search(r's32\[[\d,]*\][^=\n]* (reduce-scatter|all-reduce)(?:-start)?\(', text)
    assert f'u8[{len(frames)},' not in text
    assert compiled.memory_analysis().temp_size_in_bytes < part / 2
