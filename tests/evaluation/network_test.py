"""A network's features of clips and of data sets: what a batch carries reaches it, batches do not show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from configs import sta_synthetic
from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.batches import eval_pipeline
from jaxreid.data.datasets import mars
from jaxreid.data.stores import folder_store
from jaxreid.evaluation import features, fingerprint, network
from jaxreid.models import build, output
from jaxreid.training import checkpoint, step
from tests.fixtures import mars_folder as mars_fixture
from tests.oracles import augmentation, sampling

FRAMES = 2


class Fake(nn.Module):
    """Means over the left half of the real frames: colour (3) and flow (2), then what the call looked like (3)."""

    dtype: jnp.dtype = jnp.float32
    diverged: bool = False
    scale: float = 1.0

    @nn.compact
    def __call__(self, clips, flow=None, *, train, lengths=None, chunk=0):
        assert not train
        b, t, _, w, _ = clips.shape
        real = jnp.ones((b, t)) if lengths is None else (jnp.arange(t)[None] < lengths[:, None]).astype(clips.dtype)
        share = real / real.sum(1, keepdims=True)

        def mean(x):
            return jnp.einsum('bt,btc->bc', share, x[:, :, :, : w // 2].mean((2, 3)))

        motion = jnp.full((b, 2), 100.0) if flow is None else mean(flow)
        call = jnp.broadcast_to(jnp.asarray([t, chunk, 0 if lengths is None else 1], jnp.float32)[None], (b, 3))
        embedding = jnp.concatenate([mean(clips), motion, call], -1).astype(self.dtype) * self.scale
        if self.diverged:
            embedding = embedding.at[0].set(jnp.nan)
        return output.ModelOutput(embedding, 2 * embedding, jnp.zeros((b, 1)), {})


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    return mars.read(mars_fixture.write(tmp_path_factory.mktemp('data') / 'mars'))


class _Store(folder_store.FolderStore):
    """Flow that depends on the frame's pixels; TV-L1 is tested elsewhere."""

    def read_flow(self, tracklet, frames):
        return _flow(self.read(tracklet, frames))


def _flow(frames):
    return (frames[..., :2].astype(np.float32) / 4 - 30).astype(np.float16)


@pytest.fixture(autouse=True)
def _quick_flow(monkeypatch):
    monkeypatch.setattr(folder_store, 'FolderStore', _Store)


def _network(*, flow='tvl1', flip=False, devices=1, batch_clips=8, trained='float32', dtype='auto', **fake):
    experiment = config.Experiment()
    experiment.data = config.Data(height=16, width=8, flow=flow)
    experiment.test = config.Test(frames=FRAMES, batch_clips=batch_clips, flip=flip, seed=3, compute_dtype=dtype)
    experiment.train.compute_dtype = trained
    mesh = sharding.make_mesh(jax.devices()[:devices])
    return network.Network(experiment, Fake(**fake), {}, {'config': config.to_dict(experiment), 'labels': {}}, 7, mesh)


def _extract(dataset, *, clips='whole', one_frame=False, **how):
    return _network(**how).features(dataset, clips=clips, one_frame=one_frame)


def _by_hand(frames, *, flip=False, with_flow=True):
    """[5], what Fake gives for these frames."""
    halves = []
    for mirrored in (False, True) if flip else (False,):
        colour = augmentation.normalised(frames)
        motion = np.clip(_flow(frames).astype(np.float64), -20, 20) / 20
        if mirrored:
            colour, motion = colour[:, :, ::-1], motion[:, :, ::-1] * (-1, 1)
        if not with_flow:
            motion = np.full_like(motion, 100)
        halves.append([x[:, :, :4].mean((0, 1, 2)) for x in (colour, motion)])
    return np.concatenate(np.mean(np.asarray([np.concatenate(h) for h in halves]), 0, keepdims=True), 0)


def _frames(dataset, row, positions=None):
    frames = np.arange(len(dataset.test[row].frames)) if positions is None else np.asarray(positions)
    how = folder_store.Reading(height=16, width=8, resize='bicubic', on_corrupt='error')
    store = _Store(dataset.root, dataset.test, how)
    return store.read(row, frames)


@pytest.mark.parametrize('flip', [False, True])
@pytest.mark.parametrize('flow', ['tvl1', 'off'])
def test_whole_tracklets_reach_the_network_with_flow_lengths_and_chunk(dataset, flow, flip):
    found = _extract(dataset, flow=flow, flip=flip)
    for row, tracklet in enumerate(dataset.test):
        expected = _by_hand(_frames(dataset, row), flip=flip, with_flow=flow != 'off')
        np.testing.assert_allclose(found.embedding[row, :5], expected, atol=1e-5)
        assert found.embedding[row, 5:].tolist() == [len(sampling.whole(len(tracklet.frames), FRAMES)), FRAMES, 1]
    np.testing.assert_allclose(found.embedding_before_neck, 2 * found.embedding, rtol=1e-6)
    assert found.meta['frames_seen'] == sum(len(tracklet.frames) for tracklet in dataset.test)
    assert (found.meta['flow'], found.meta['clip_seed']) == (flow, None)


@pytest.mark.parametrize('clips', ['interleaved', 'all_frames'])
def test_clips_of_flow_are_averaged_and_carry_neither_lengths_nor_chunk(dataset, clips):
    found = _extract(dataset, clips=clips, flip=True)
    for row, tracklet in enumerate(dataset.test):
        lists = getattr(sampling, clips)(len(tracklet.frames), FRAMES)
        expected = np.mean([_by_hand(_frames(dataset, row, clip), flip=True) for clip in lists], 0)
        np.testing.assert_allclose(found.embedding[row, :5], expected, atol=1e-5)
        assert found.embedding[row, 5:].tolist() == [FRAMES, 0, 0]


@pytest.mark.parametrize('clips', ['whole', 'interleaved'])
def test_features_do_not_depend_on_devices_or_batches(dataset, clips):
    expected = _extract(dataset, clips=clips)
    for devices, batch_clips in ((8, 8), (1, 1)):
        found = _extract(dataset, clips=clips, devices=devices, batch_clips=batch_clips)
        np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-5)


def test_one_frame_stands_still(dataset):
    found = _extract(dataset, one_frame=True)
    for row in range(len(dataset.test)):
        expected = _by_hand(_frames(dataset, row, [0]))
        np.testing.assert_allclose(found.embedding[row, :3], expected[:3], atol=1e-5)
        assert not found.embedding[row, 3:5].any()
    assert found.meta['frames_seen'] == len(dataset.test)


def test_random_clips_carry_their_seed_and_another_file_name(dataset, tmp_path):
    found = _extract(dataset, clips='random', flow='zeros')
    assert found.meta['clip_seed'] == 3
    assert found.meta['frames_seen'] == eval_pipeline.frames_seen(dataset.test, clips='random', frames=FRAMES, seed=3)
    found.save(tmp_path / 'features.npz')
    assert features.free_path(tmp_path, found.meta).name == 'features.npz'
    other = features.free_path(tmp_path, found.meta | {'clip_seed': 4})
    assert other.name == 'features-mars-step7-random-seed4.npz'


def test_stores_of_a_split_share_computed_flow_between_evaluations(dataset):
    data = config.Data(height=16, width=8, flow='tvl1', flow_cache_mb=1)
    stores = [source.store(data, dataset, split=split) for split in ('test', 'test', 'train')]
    assert stores[0]._how.cache is stores[1]._how.cache
    assert stores[0]._how.cache is not stores[2]._how.cache
    assert stores[0]._how.flow == 'tvl1'


@pytest.mark.parametrize(
    ('trained', 'asked', 'platform', 'used'),
    [
        ('float32', 'auto', 'gpu', 'float32'),
        ('auto', 'auto', 'cpu', 'float32'),
        ('auto', 'auto', 'gpu', 'float16'),
        ('bfloat16', 'auto', 'cpu', 'float16'),
        ('auto', 'auto', 'tpu', 'bfloat16'),
        ('bfloat16', 'float32', 'gpu', 'float32'),
        ('float32', 'bfloat16', 'cpu', 'bfloat16'),
    ],
)
def test_features_say_in_what_they_were_computed(dataset, monkeypatch, trained, asked, platform, used):
    exact = _extract(dataset, flow='off').embedding
    monkeypatch.setattr(jax, 'default_backend', lambda: platform)
    found = _extract(dataset, flow='off', trained=trained, dtype=asked)
    assert found.meta['compute_dtype'] == used
    off = np.abs(found.embedding[:, :3] - exact[:, :3]).max()
    assert off == 0 if used == 'float32' else 1e-5 < off < {'float16': 2e-3, 'bfloat16': 2e-2}[used]


def test_where_float16_overflows_features_are_computed_in_bfloat16(dataset, capsys):
    exact = 6e4 * _extract(dataset, flow='off').embedding
    found = _extract(dataset, flow='off', trained='bfloat16', scale=6e4)
    assert found.meta['compute_dtype'] == 'bfloat16'
    np.testing.assert_allclose(found.embedding, exact, rtol=2e-2, atol=1e3)
    assert 'again in bfloat16' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('trained', 'dtype', 'wrong'),
    [
        ('float32', 'float16', {'scale': 6e4}),
        ('float32', 'auto', {'diverged': True}),
        ('bfloat16', 'auto', {'diverged': True}),
    ],
)
def test_features_that_are_not_finite_stop_with_advice(dataset, trained, dtype, wrong):
    used = {'float16': 'float16'}.get(dtype, trained)
    message = rf'features of \d+ of {len(dataset.test)} tracklets are NaN or infinite at step 7 in {used}\..*earlier'
    with pytest.raises(ValueError, match=message):
        _extract(dataset, flow='off', trained=trained, dtype=dtype, **wrong)


@pytest.mark.parametrize(('flow', 'flip'), [('off', False), ('tvl1', True)])
@pytest.mark.parametrize(('devices', 'batch_clips', 'count'), [(1, 8, 1), (1, 2, 5), (4, 4, 3)])
def test_clips_become_the_features_that_extraction_gives_them(dataset, flow, flip, devices, batch_clips, count):
    embed = _network(flow=flow, flip=flip, devices=devices, batch_clips=batch_clips).embed
    clips = np.random.default_rng(0).integers(0, 256, (count, FRAMES, 16, 8, 3), np.uint8)
    motion = [] if flow == 'off' else [np.stack([_flow(clip) for clip in clips])]
    made = embed(clips, *motion)
    assert made.dtype == np.float32
    for i, clip in enumerate(clips):
        expected = _by_hand(clip, flip=flip, with_flow=flow != 'off')
        np.testing.assert_allclose(made[i, :5], expected, atol=1e-5)
        assert made[i, 5:].tolist() == [FRAMES, 0, 0]
    np.testing.assert_allclose(embed(clips, *motion, neck='before'), 2 * made, rtol=1e-6)


def test_clips_that_overflow_float16_are_embedded_in_bfloat16_and_those_of_a_diverged_network_are_refused():
    clips = np.full((3, FRAMES, 16, 8, 3), 255, np.uint8)
    exact = 6e4 * _network(flow='off').embed(clips)
    np.testing.assert_allclose(_network(flow='off', trained='bfloat16', scale=6e4).embed(clips), exact, rtol=2e-2)
    with pytest.raises(ValueError, match=r'features of 1 of 3 clips are NaN or infinite at step 7 in float32\.'):
        _network(flow='off', diverged=True, batch_clips=4).embed(clips)


@pytest.mark.parametrize(
    ('shape', 'dtype', 'flow', 'message'),
    [
        (
            (1, FRAMES, 16, 8, 3),
            np.float32,
            None,
            r'are float32 \[1, 2, 16, 8, 3\], expected uint8 \[B, T, 16, 8, 3\]',
        ),
        ((1, FRAMES, 8, 16, 3), np.uint8, None, 'expected uint8'),
        ((FRAMES, 16, 8, 3), np.uint8, None, 'expected uint8'),
        ((0, FRAMES, 16, 8, 3), np.uint8, None, 'expected uint8'),
        ((1, FRAMES, 16, 8, 3), np.uint8, (1, FRAMES, 16, 8, 2), 'does not see motion'),
    ],
)
def test_what_is_no_clip_is_refused(shape, dtype, flow, message):
    motion = [] if flow is None else [np.zeros(flow, np.float32)]
    with pytest.raises(ValueError, match=message):
        _network(flow='off').embed(np.zeros(shape, dtype), *motion)


def test_a_network_that_sees_motion_asks_for_it():
    clips = np.zeros((1, FRAMES, 16, 8, 3), np.uint8)
    with pytest.raises(ValueError, match='this network sees motion'):
        _network().embed(clips)
    with pytest.raises(ValueError, match=r'flow is \[2, 2, 16, 8, 2\], expected \[1, 2, 16, 8, 2\]'):
        _network().embed(clips, np.zeros((2, FRAMES, 16, 8, 2), np.float32))


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """(workdir, experiment, model, variables) of a small network with a checkpoint of step 5."""
    experiment = sta_synthetic.get_config('tiny')
    experiment.backbone.width, experiment.backbone.depths = 8, (1, 1, 1, 1)
    experiment.data = config.Data(height=32, width=16)
    experiment.sampler.frames = experiment.test.frames = FRAMES
    experiment.train.compute_dtype = 'float32'
    model = build.build(experiment, num_ids=4, dtype=jnp.float32)
    shapes = jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.05, 0.1, x.shape), x.dtype), dict(shapes))
    folder = tmp_path_factory.mktemp('run')
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    checkpoints.save(5, variables, {'config': config.to_dict(experiment), 'labels': {str(i): i for i in range(4)}})
    checkpoints.close()
    return folder, experiment, model, variables


@pytest.mark.parametrize('path', ['', 'checkpoints', 'checkpoints/5'])
def test_a_network_is_loaded_from_a_workdir_its_checkpoints_or_one_of_them(saved, path):
    folder, experiment, model, variables = saved
    loaded = network.Network.load(str(folder / path))
    assert (loaded.step, loaded.path, loaded.experiment) == (5, folder / 'checkpoints' / '5', experiment)
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)
    assert loaded.fingerprint == fingerprint.of(variables)
    clips = np.random.default_rng(1).integers(0, 256, (2, FRAMES, 32, 16, 3), np.uint8)
    expected = jax.jit(lambda v, x: model.apply(v, x, train=False).embedding)(
        variables, augmentation.normalised(clips).astype(np.float32)
    )
    np.testing.assert_allclose(loaded.embed(clips), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_a_network_is_used_under_other_settings_that_are_of_the_same_network_only(saved):
    folder, experiment, *_ = saved
    other = config.from_dict(config.to_dict(experiment))
    other.test.flip, other.data.dataset = True, 'dukev'
    loaded = network.Network.load(folder, experiment=other)
    assert loaded.making()['flip']
    assert (loaded.making()['trained_on'], loaded.making()['tested_on']) == ('mars', 'dukev')
    other.sta.stripes = 2
    with pytest.raises(checkpoint.CheckpointError, match=r'belongs to another model:\n  config.sta.stripes'):
        network.Network.load(folder, experiment=other)


def test_folders_without_parameters_say_what_they_are(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match='no checkpoint under'):
        network.Network.load(tmp_path)
    (tmp_path / 'model.json').write_text('{}')
    with pytest.raises(checkpoint.CheckpointError, match=r'was written by jaxreid.export and .* run it with'):
        network.Network.load(str(tmp_path))
