"""`import jaxreid`: features equal those of extraction, wrong input is refused, and nothing heavy is imported early."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jaxreid
from configs import sta_synthetic, star_synthetic
from jaxreid import config
from jaxreid.data.batches import clip_sampling
from jaxreid.data.flow import optical_flow
from jaxreid.evaluation import feature_file
from jaxreid.export import program
from jaxreid.models import build
from jaxreid.training import checkpoint, step

FRAMES, HEIGHT, WIDTH = 2, 32, 16


def saved(folder, experiment):
    """A workdir of a small network with random parameters."""
    experiment.backbone.width, experiment.backbone.depths = 8, (1, 1, 1, 1)
    experiment.data = config.Data(height=HEIGHT, width=WIDTH, flow=experiment.data.flow, resize='bilinear')
    experiment.sampler.frames = experiment.test.frames = FRAMES
    experiment.test.clips, experiment.test.batch_clips = 'all_frames', 8
    experiment.train.compute_dtype = 'float32'
    model = build.build(experiment, num_ids=4, dtype=jnp.float32)
    shapes = jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: jnp.asarray(rng.uniform(0.05, 0.1, x.shape), x.dtype), dict(shapes))
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    checkpoints.save(5, variables, {'config': config.to_dict(experiment), 'labels': {str(i): i for i in range(4)}})
    checkpoints.close()
    return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return saved(tmp_path_factory.mktemp('sta'), sta_synthetic.get_config('tiny'))


@pytest.fixture(scope='module')
def net(run):
    return jaxreid.load(run)


@pytest.fixture(scope='module')
def shop(tmp_path_factory):
    """(manifest, file names by tracklet): 3 tracklets of 5, 2 and 1 frames of several sizes."""
    folder, rng = tmp_path_factory.mktemp('shop'), np.random.default_rng(1)
    names, lines = [], ['tracklet,pid,camera,role,folder']
    for number, (count, size) in enumerate([(5, (64, 32)), (2, (HEIGHT, WIDTH)), (1, (90, 41))]):
        place = folder / f't{number}'
        place.mkdir()
        names.append([place / f'{i}.png' for i in range(count)])
        for name in names[-1]:
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(name)
        lines.append(f't{number},{number + 1},{number + 1},gallery,t{number}')
    (folder / 'own.csv').write_text('\n'.join(lines) + '\n')
    return folder / 'own.csv', names


def pixels(names):
    return np.stack([np.asarray(Image.open(name)) for name in names])


@pytest.mark.slow
def test_features_are_those_of_extraction(run, net, shop, tmp_path):
    manifest, names = shop
    settings = config.from_dict(config.to_dict(net.experiment))
    settings.data.dataset, settings.data.root = 'manifest', str(manifest)
    assert jaxreid.evaluate(settings, run, tmp_path, scored=False) == []
    extracted = feature_file.load(tmp_path / 'features.npz', roles=False)
    assert repr(net) == 'sta: clips of any number of frames, resized to 32x16'
    assert [str(name) for name in extracted.name] == ['t0', 't1', 't2']
    size = np.abs(extracted.embedding).max()
    close = {'rtol': 0, 'atol': 1e-6 * size}
    np.testing.assert_allclose(net.embed_tracklets(names), extracted.embedding, **close)
    np.testing.assert_allclose(net.embed_tracklets([pixels(one) for one in names]), extracted.embedding, **close)
    for row, one in enumerate(names):
        positions = clip_sampling.all_frames(len(one), frames=FRAMES)
        made = net.embed(pixels(one)[positions])
        np.testing.assert_allclose(made.mean(0), extracted.embedding[row], **close)
        assert (made.shape, made.dtype) == ((len(positions), extracted.embedding.shape[1]), np.float32)


def test_clips_may_be_lists_of_what_they_hold_and_of_other_lengths_and_sizes(net, shop):
    _, names = shop
    long, short, one = (pixels(some) for some in names)
    expected = np.concatenate([net.embed(clip[None]) for clip in (long, short, one)])
    assert len({tuple(row) for row in expected.tolist()}) == 3
    for clips in ([long, short, one], [list(long), list(short), list(one)], names, (long, tuple(short), names[2])):
        np.testing.assert_allclose(net.embed(clips), expected, rtol=1e-6)
    np.testing.assert_allclose(net.embed(long[None, ..., ::-1], channels='bgr'), expected[:1], rtol=1e-6)
    assert np.abs(net.embed(long[None, ..., ::-1]) - expected[:1]).max() > 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(net.embed(jnp.asarray(long[None])), expected[:1], rtol=1e-6)


GOOD = np.random.default_rng(2).integers(0, 256, (1, FRAMES, 48, 24, 3), np.uint8)


@pytest.mark.parametrize(
    ('clips', 'message'),
    [
        (GOOD / 255, r'float64 .*these go from 0 to 1: give np\.round\(array \* 255\)'),
        (GOOD.astype(np.float32), r'float32 .*expected uint8 from 0 to 255; give np\.round'),
        ((GOOD / 127.5 - 1).astype(np.float32), r'go from -1 to 1: give frames before they are normalised'),
        (GOOD.astype(np.int64) * 2, 'these go up to 5'),
        (np.full(GOOD.shape, np.nan, np.float32), 'not finite'),
        ((GOOD / 255).round().astype(np.uint8), 'values 0 and 1 only'),
        (np.moveaxis(GOOD, -1, 2), r'channels come last here; give np\.moveaxis\(array, -3, -1\)'),
        (np.moveaxis(GOOD, -1, 1), r'channels come last here; give np\.moveaxis\(array, -4, -1\)'),
        (np.concatenate([GOOD, GOOD[..., :1]], -1), r'four channels; .*array\[\.\.\., :3\]'),
        (GOOD[..., :1], r'of grey frames give np\.stack'),
        (GOOD[..., 0], r'expected \[B, T, H, W, 3\]'),
        (GOOD[0], r'one clip alone; a clip is a list of frames'),
        (GOOD[:, :, :, :, :].transpose(0, 1, 3, 2, 4), '24 high and 48 wide are no crops of a person'),
        (GOOD[:, :, :4, :2], 'frames of 4x2 pixels are too small'),
        (GOOD[:, :0], 'holds nothing'),
        (GOOD[:0], 'holds nothing|is empty'),
        ([], 'clips is empty'),
        ([[]], 'clip 0 has no frames'),
        ('a.png', "clips is 'a.png', one name"),
        (['a.png', 'b.png'], "clip 0 is 'a.png', one name; a clip is a list of frames"),
        (list(GOOD[0]), r'clip 0 is \[48, 24, 3\], expected \[T, H, W, 3\]; a clip is a list of frames'),
        ([GOOD[0], GOOD[0, :, :, :, 0]], r'clip 1 is \[2, 48, 24\], expected \[T, H, W, 3\]'),
        ([[GOOD[0, 0], GOOD[0, 1] / 255]], r'frame 1 of clip 0 is float64'),
        (None, 'clips is NoneType, expected an array'),
        ({'clips': GOOD}, 'clips is dict, expected an array'),
    ],
)
def test_what_is_no_clip_gets_one_error_that_says_what_to_do(net, clips, message):
    with pytest.raises(ValueError, match=message):
        net.embed(clips)


def test_files_that_are_none_and_options_that_are_not_known_are_named(net, tmp_path):
    with pytest.raises(OSError, match=r'gone\.png'):
        net.embed([[tmp_path / 'gone.png']])
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(ValueError, match=r'frame 0 of clip 0, .*text\.png: no image'):
        net.embed([[tmp_path / 'text.png']])
    with pytest.raises(ValueError, match="channels = 'gbr' is not known"):
        net.embed(GOOD, channels='gbr')
    with pytest.raises(ValueError, match="neck = 'of' is not known"):
        net.embed(GOOD, neck='of')
    with pytest.raises(ValueError, match='does not see motion'):
        net.embed(GOOD, flow='tvl1')


def test_an_exported_folder_is_loaded_like_a_checkpoint(run, net, tmp_path, capsys):
    out = tmp_path / 'exported'
    program.export(run, out, batch='3', platforms=('cpu',))
    assert 'checkpoints/5; running it on a sample' in capsys.readouterr().out  # it takes long
    loaded = jaxreid.load(out)
    clips = np.random.default_rng(3).integers(0, 256, (4, FRAMES, 50, 30, 3), np.uint8)
    expected = net.embed(clips)
    np.testing.assert_allclose(loaded.embed(clips), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    with pytest.raises(ValueError, match='clip 0 has 3 frames; this network takes exactly 2'):
        loaded.embed(clips[:, [0, 1, 0]])
    with pytest.raises(ValueError, match='features after the neck; export it again with --neck before'):
        loaded.embed(clips, neck='before')
    with pytest.raises(checkpoint.CheckpointError, match='no checkpoint under'):
        jaxreid.load(tmp_path)


@pytest.mark.slow
def test_a_network_that_sees_motion_is_given_it_or_computes_it(tmp_path, monkeypatch):
    experiment = star_synthetic.get_config('tiny')
    monkeypatch.setattr(optical_flow, 'tv_l1', lambda first, second: second[..., :2] / 8 - first[..., :2] / 8)
    net = jaxreid.load(saved(tmp_path, experiment))
    assert net.experiment.data.flow == 'tvl1'
    clips = np.random.default_rng(4).integers(0, 256, (1, 3, HEIGHT, WIDTH, 3), np.uint8)
    with pytest.raises(ValueError, match=r"sees motion\. .*flow='tvl1'.*\[B, T, 32, 16, 2\]"):
        net.embed(clips)
    flow = (clips[:, 1:, ..., :2] / 8 - clips[:, :-1, ..., :2] / 8).astype(np.float16)
    flow = np.concatenate([flow, flow[:, -1:]], 1)
    expected = net.embed(clips, flow=flow)
    np.testing.assert_allclose(net.embed(clips, flow='tvl1'), expected, rtol=1e-5)
    assert np.abs(net.embed(clips, flow=0 * flow) - expected).max() > 1e-4 * np.abs(expected).max()
    for wrong, message in (
        (flow[:, :2], r'flow of clip 0 is \[2, '),
        (flow + np.nan, 'not finite'),
        (flow[:0], 'of 0'),
    ):
        with pytest.raises(ValueError, match=message):
            net.embed(clips, flow=wrong)


def test_rank_and_rerank_order_a_gallery():
    rng = np.random.default_rng(5)
    queries, gallery = rng.normal(size=(3, 8)), rng.normal(size=(6, 8))
    cosine = (queries / np.linalg.norm(queries, axis=1, keepdims=True)) @ (
        gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    ).T
    ranked = jaxreid.rank(queries, gallery, top=4)
    np.testing.assert_array_equal(ranked.order, np.argsort(-cosine, axis=1)[:, :4])
    np.testing.assert_allclose(ranked.distances, np.sort(-cosine, axis=1)[:, :4])
    euclidean = np.linalg.norm(queries[:, None] - gallery, axis=2)
    np.testing.assert_array_equal(jaxreid.rank(queries, gallery, distance='euclidean').order, euclidean.argsort(1))
    np.testing.assert_allclose(
        jaxreid.rerank(queries, gallery, distance='euclidean', k1=3, k2=1, weight=1.0).argsort(1), euclidean.argsort(1)
    )
    with pytest.warns(UserWarning, match=r're-ranking \(k1\) looks for 20 neighbours, but the gallery holds 6'):
        jaxreid.rerank(queries, gallery)
    for wrong, message in (
        ((queries[0], gallery), r'queries is float64 \[8\], expected float \[N, D\]'),
        ((queries, gallery[:, :5]), 'queries have 8 dimensions, the gallery 5'),
        ((queries * np.nan, gallery), 'queries holds values that are NaN'),
        ((queries.astype(int), gallery), 'expected float'),
    ):
        with pytest.raises(ValueError, match=message):
            jaxreid.rank(*wrong)


def test_score_reads_files_and_what_they_hold(tmp_path):
    rng = np.random.default_rng(6)
    pid, camera = np.repeat([1, 2, 3], 4), np.tile([1, 2], 6)
    query = np.arange(12) % 4 == 0
    features = feature_file.Features(
        rng.normal(size=(12, 5)).astype(np.float32) + 2 * np.eye(5, dtype=np.float32)[pid],
        None, pid, camera, query, ~query, np.array([f't{i}' for i in range(12)]), np.full(12, 9), {},
    )  # fmt: skip
    features.save(tmp_path / 'features.npz')
    scored = jaxreid.score(tmp_path / 'features.npz', resamples=50)
    assert scored['protocol']['name'] == 'mars-paper'
    assert 33 < scored['mAP'] <= 100
    assert scored['mAP'] == jaxreid.score([features, features], resamples=0)['mAP']
    assert jaxreid.score(features, rerank=True, resamples=0)['protocol']['re_ranking'].startswith('k-reciprocal')
    zeros = dataclasses.replace(features, embedding=np.zeros_like(features.embedding))
    assert 'all zeros' in jaxreid.score(zeros, resamples=0)['warnings'][0]


def test_data_sets_are_read_and_settings_made_by_name(shop):
    dataset = jaxreid.read('manifest', shop[0])
    assert [len(one.frames) for one in dataset.test] == [5, 2, 1]
    made = jaxreid.settings('strf_mars:table2_p3db', {'train.epochs': 3})
    assert (made.backbone.block, made.train.epochs) == ('p3db', 3)
    for act, message in (
        (lambda: jaxreid.settings('strf_mrs'), "Did you mean 'strf_mars'"),
        (lambda: jaxreid.settings('strf_mars', {'train.epoch': 3}), "Did you mean 'train.epochs'"),
        (lambda: jaxreid.read('mars'), 'config.data.root is empty'),
        (lambda: jaxreid.read('mras', '/x'), "Did you mean 'mars'"),
        (lambda: jaxreid.train(made), 'name the workdir'),
    ):
        with pytest.raises(ValueError, match=message):
            act()


def test_importing_jaxreid_is_light():
    code = (
        'import time; start = time.perf_counter(); import jaxreid; seconds = time.perf_counter() - start; import sys; '
        'print(seconds < 0.2, jaxreid.__version__, [m for m in ("jax", "numpy", "flax", "cv2") if m in sys.modules], '
        '"load" in dir(jaxreid), hasattr(jaxreid, "nothing"))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['True', jaxreid.__version__, '[]', 'True', 'False']
    assert all(callable(getattr(jaxreid, name)) for name in jaxreid.__all__)
