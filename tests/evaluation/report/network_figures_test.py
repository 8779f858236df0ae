"""A report's figures of the network, from stand-ins whose outputs are known; STA itself from checkpoint to page."""

import dataclasses
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxreid import config, sharding
from jaxreid.evaluation import evaluate, feature_file, network, protocols
from jaxreid.evaluation.report import command as report
from jaxreid.evaluation.report import network_figures as report_network
from jaxreid.evaluation.report import network_maps
from jaxreid.evaluation.report import pictures as report_pictures
from jaxreid.models import build, output
from jaxreid.training import checkpoint, step
from tests.fixtures import browser, coloured_frames, feature_files, report_page
from tests.fixtures import mars_folder as mars_fixture

L, M, N = 3, 4, 3  # frames of a clip, items of the two memories


class Fake(nn.Module):
    """Gives the extras of a system, made of the pixels by formulas that `fake_extras` repeats."""

    system: str
    mlp: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips, flow=None, *, train):
        assert not train
        assert (flow is not None) == (self.system == 'star')
        maps = clips.mean(-1)[:, :, ::8, ::8]  # [B, L, 4, 2]
        frame = clips.mean((2, 3, 4))  # [B, L]
        embedding = clips.mean((1, 2, 3))
        extras = {}
        if self.system != 'stmn':
            extras['attention'] = maps
        if self.system == 'sta':
            extras['stripe_scores'] = jax.nn.softmax(clips.mean((3, 4))[:, :, ::16], axis=1)
        if self.system in ('star', 'stmn'):
            extras['frame_weights'] = jax.nn.softmax(frame, axis=1)
        if self.system == 'stmn':
            extras['spatial_match'] = jax.nn.softmax(
                maps[..., None] * jnp.arange(1.0, M + 1)[None, None, None, None], -1
            )
            extras['refinement'] = maps
            extras['feature_unrefined'] = embedding[:, ::-1]
            if not self.mlp:
                extras['temporal_match'] = jax.nn.softmax(frame * jnp.arange(1.0, N + 1)[None], -1)
        return output.ModelOutput(embedding, embedding, embedding, extras)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return mars_fixture.write(tmp_path_factory.mktemp('data') / 'mars', height=32, width=16)


def settings(system, root):
    """A network narrower than the small one, on the fixture."""
    experiment = importlib.import_module(f'configs.{system}_synthetic').get_config('tiny')
    experiment.data = config.Data(
        dataset='mars', root=str(root), height=32, width=16, flow='zeros' if system == 'star' else 'off'
    )
    experiment.backbone.width, experiment.backbone.depths = 8, (1, 1, 1, 1)
    experiment.sampler.frames = experiment.test.frames = L
    experiment.train.compute_dtype = 'float32'
    return config.validate(experiment)


def fake(system, root, *, mlp=False):
    """A stand-in for a restored network."""
    values = np.random.default_rng(0).random((N, L)).astype(np.float32)
    variables = {'params': {'temporal_memory': {'values': values}}}
    experiment = settings(system, root)
    meta = {'config': config.to_dict(experiment), 'labels': {}}
    return network.Network(
        experiment, Fake(system, mlp), variables, meta, 5, sharding.make_mesh(jax.devices()[:1]), root
    )


def saved(experiment, folder):
    """A checkpoint with random parameters."""
    model = build.build(experiment, num_ids=4, dtype=np.dtype('float32'))
    shapes = jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: jnp.asarray(0.05 * rng.random(x.shape), x.dtype), dict(shapes))
    checkpoints = checkpoint.Checkpoints(folder / 'checkpoints', keep=1)
    checkpoints.save(5, variables, {'config': config.to_dict(experiment), 'labels': {str(i): i for i in range(4)}})
    checkpoints.close()


def footage(root, *, flow='off'):
    found = feature_files.features(root=root)
    return report_pictures.open_footage(found, '', flow=flow), found


def figures(networks, root, chosen=(3, 5)):
    frames, found = footage(root, flow=networks[0][1].experiment.data.flow)
    drawn = report_network.figures(
        networks, frames, found, protocols.named('mars-paper'), distance='cosine', chosen=list(chosen)
    )
    return {panel.name: panel for panel in drawn}


@pytest.mark.parametrize(('system', 'rows'), [('strf', 4), ('sta', 6), ('star', 4)])
def test_attention_is_shown_over_every_frame(system, rows, root):
    drawn = figures([(system, fake(system, root))], root)
    panel = drawn['attention']
    assert len(panel.rows) == rows
    assert all(len(row.pictures) == 3 for row in panel.rows)
    assert not np.array_equal(panel.rows[0].pictures[0].image, panel.rows[1].pictures[0].image)
    if system == 'star':
        assert sum(panel.rows[1].bars) == pytest.approx(1, abs=1e-5)
        assert [row.follows for row in drawn['temporal_attention'].rows] == [False, True] * 2


@pytest.fixture(scope='module')
def memories(root):
    networks = [('memory', fake('stmn', root)), ('mlp', fake('stmn', root, mlp=True))]
    return networks, figures(networks, root)


def test_stmn_has_a_figure_for_each_of_the_paper_s(memories):
    assert set(memories[1]) == {
        'match_maps', 'refinement', 'key_frames', 'refinement_retrieval', 'key_sequences', 'temporal_attention'
    }  # fmt: skip


def test_match_maps_stand_side_by_side_with_the_network_compared(memories):
    rows = memories[1]['match_maps'].rows
    assert len(rows) == 4
    assert [row.follows for row in rows] == [False, True, False, True]
    assert all(len(row.pictures) == 1 + 4 for row in rows)


def test_keys_retrieve_what_a_single_pass_over_each_tracklet_says(memories, root):
    """An independent way: one clip at a time, nothing padded."""
    network = memories[0][0][1]
    frames, found = footage(root)
    strongest, temporal = [], []
    for row, length in zip(frames.store_row, frames.length):
        positions = network_maps.clip(int(length), network.experiment)
        pixels = frames.store.read(int(row), positions)[None].astype(np.float32)
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        clip = ((pixels / 255 - mean) / deviation).astype(np.float32)
        output = network.model.apply(network.variables, clip, train=False)
        strongest.append(np.asarray(output.extras['spatial_match'])[0].max((0, 1, 2)))
        temporal.append(np.asarray(output.extras['temporal_match'])[0])
    for item, row in enumerate(memories[1]['key_frames'].rows):
        best = max(range(len(found.name)), key=lambda n: strongest[n][item])
        assert row.pictures[0].caption.startswith(str(found.name[best]))
    headings = [row.heading for row in memories[1]['key_sequences'].rows if not row.follows]
    for item, heading in enumerate(headings):
        best = max(range(len(found.name)), key=lambda n: temporal[n][item])
        assert str(found.name[best]) in heading


def test_values_of_the_temporal_memory_stand_below_its_sequences(memories):
    network = memories[0][0][1]
    values = np.asarray(network.variables['params']['temporal_memory']['values'])
    first = memories[1]['key_sequences'].rows[0]
    assert [f'{v:.2f}' in p.caption for v, p in zip(values[0], first.pictures)] == [True] * 3
    assert sum(first.bars) == pytest.approx(1)


def test_both_networks_weigh_both_orders(memories):
    rows = memories[1]['temporal_attention'].rows
    assert [part for row in rows[:4] for part in row.heading.split(' · ')[1:2]] == [
        'memory, as filmed', 'memory, reordered', 'mlp, as filmed', 'mlp, reordered'
    ]  # fmt: skip
    for row in rows:
        assert sum(row.bars) == pytest.approx(1, abs=1e-5)
    pictures = [[p.image.tobytes() for p in row.pictures] for row in rows[:2]]
    assert pictures[0] != pictures[1]
    assert sorted(pictures[0]) == sorted(pictures[1])


def test_retrieval_is_shown_before_and_after_the_spatial_memory(memories, root):
    text = memories[1]['refinement_retrieval'].text
    frames, found = footage(root)
    scores = []
    for order in (slice(None, None, -1), slice(None)):
        means = []
        for row, length in zip(frames.store_row, frames.length):
            positions = network_maps.clip(int(length), settings('stmn', root))
            pixels = frames.store.read(int(row), positions) / 255
            means.append(((pixels.mean((0, 1, 2)) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])[order])
        seen = dataclasses.replace(found, embedding=np.array(means))
        scores.append(protocols.score(seen, protocols.named('mars-paper'))['mAP'])
    assert f'f^o: mAP {scores[0]:.1f}' in text
    assert f'f^s: mAP {scores[1]:.1f}' in text


def test_rows_of_channels_are_not_shown_as_positions(root):
    network = fake('stmn', root)
    network.experiment.stmn.query_layout = 'flat'
    drawn = figures([('released', network)], root)
    assert 'match_maps' not in drawn
    assert {'refinement', 'key_frames', 'refinement_retrieval'} <= set(drawn)


@pytest.mark.slow
def test_the_command_finds_the_checkpoint_of_a_workdir(root, tmp_path, monkeypatch, capsys):
    """From a checkpoint to features, numbers, the figure of the network and the page, as a user does it."""
    experiment = settings('sta', root)
    experiment.test.distance = 'euclidean'
    saved(experiment, tmp_path)
    evaluate.run(experiment, tmp_path, tmp_path, scored=False)
    drawn = []
    figures = report_network.figures
    monkeypatch.setattr(report_network, 'figures', lambda *args, **how: drawn.extend(figures(*args, **how)) or drawn)
    assert report.run([str(tmp_path), '--tracklets=2']) == 0, capsys.readouterr().err

    found = feature_file.load(tmp_path / 'features.npz')
    scored = protocols.score(found, protocols.named('mars-paper'), distance='euclidean')
    text = (tmp_path / 'report.html').read_text()
    shown = report_page.Reader(text)
    assert f'mAP {scored["mAP"]:.1f}' in ' '.join(' '.join(shown.words).split())
    assert 'share of each stripe' in text

    restored = network.Network.load(tmp_path)
    frames = report_pictures.open_footage(found, '')
    (panel,) = (p for p in drawn if p.name == 'attention')
    for plain, attention, stripes in zip(*[iter(panel.rows)] * 3, strict=True):
        row = found.name.tolist().index(plain.heading)
        positions = network_maps.clip(int(frames.length[row]), restored.experiment)
        pixels = frames.store.read(int(frames.store_row[row]), positions)
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        clip = ((pixels[None] / 255 - mean) / deviation).astype(np.float32)
        extras = jax.jit(lambda v, x: restored.model.apply(v, x, train=False).extras)(restored.variables, clip)
        shares = [[int(share) for share in picture.caption.split()] for picture in stripes.pictures]
        np.testing.assert_allclose(shares, 100 * extras['stripe_scores'][0], atol=0.51)
        for picture, frame, values in zip(attention.pictures, pixels, np.asarray(extras['attention'])[0], strict=True):
            values = (values - values.min()) / (values.max() - values.min())
            coloured_frames.check(picture, frame, values)

    assert (tmp_path / 'report_files' / 'attention.png').exists()
    assert (
        json.loads((tmp_path / 'report.calibration.json').read_text())['similarity'] == 'minus the Euclidean distance'
    )
    if browser.available():
        with browser.started(tmp_path) as page:
            for width in (1280, 390):
                page.size(width)
                page.open(tmp_path / 'report.html')
                assert page.messages() == []
                assert page.run(report_page.OVERFLOW) == 0
