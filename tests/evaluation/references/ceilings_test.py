import dataclasses
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render as synthetic
from jaxreid.evaluation import network, protocols
from jaxreid.evaluation.references import ceilings
from jaxreid.models import output
from jaxreid.training import checkpoint


@pytest.fixture(scope='module')
def motion():
    return synthetic_plan.make_plan(dataclasses.replace(synthetic.PRESETS['motion'], train_ids=6, test_ids=18))


def test_single_frames_do_not_tell_the_motion_look_alikes_apart_and_frames_in_order_do(motion):
    alone, ordered = ceilings.skeletons(motion, frames=4).values()
    assert alone.chance == ordered.chance == 50
    assert alone.queries == ordered.queries > 40
    assert abs(alone.accuracy - alone.chance) <= 15  # of some 60 queries: twice the standard error
    assert ordered.accuracy >= 90


def test_frames_that_show_the_person_are_left_and_one_at_least():
    plan, boards = synthetic_plan.make_plan(synthetic.PRESETS['occlusion']), 0
    for walk in plan.tracklets['test'][:80]:
        shown = ceilings.shown_frames(plan, walk)
        assert len(shown)
        hidden = synthetic_plan.layout(plan, walk).hidden.mean(1)
        if walk.occluder == 'none':
            assert len(shown) == walk.frames
        elif walk.occluder != 'board':
            np.testing.assert_array_equal(shown, np.flatnonzero(hidden < 0.5))
        else:  # a board covers a quarter of the height where its middle is in the picture, whoever stands there
            middle = synthetic_plan.layout(plan, walk).occluder_x
            free = (hidden < 0.5) & ((middle <= 0) | (middle >= plan.preset.width))
            boards += free.any() and not free.all()
            if free.any():
                np.testing.assert_array_equal(shown, np.flatnonzero(free))
    assert boards > 3
    buried = dataclasses.replace(plan.tracklets['test'][0], occluder='van', occluder_stay=100.0, occluder_time=0.0)
    assert len(ceilings.shown_frames(plan, buried)) >= 1


def test_walks_are_redrawn_without_what_the_oracle_takes_away():
    plan = synthetic_plan.make_plan(synthetic.PRESETS['distractors'])
    store = ceilings.Redrawn(plan, ceilings.redrawn(plan, 'no dummies'))
    row = next(i for i, walk in enumerate(plan.tracklets['test']) if walk.clutter >= 0)
    walk = plan.tracklets['test'][row]
    drawn = list(synthetic.Renderer(plan).frames(dataclasses.replace(walk, clutter=-1)))
    np.testing.assert_array_equal(store.read(row, np.array([3, 0])), np.stack([drawn[3], drawn[0]]))
    junk = next(i for i, walk in enumerate(plan.tracklets['test']) if walk.identity == synthetic_plan.JUNK)
    assert ceilings.redrawn(plan, 'right boxes')[junk] == plan.tracklets['test'][junk]
    occluded = synthetic_plan.make_plan(synthetic.PRESETS['occlusion'])
    for before, walk in zip(occluded.tracklets['test'], ceilings.redrawn(occluded, 'nothing in the way'), strict=True):
        if before.identity != synthetic_plan.JUNK:
            assert walk == dataclasses.replace(before, occluder='none', stripe=0)
    with pytest.raises(ValueError, match="no oracle 'sunshine'"):
        ceilings.redrawn(plan, 'sunshine')


def test_a_shuffled_store_gives_the_same_frames_in_another_order():
    plan = synthetic_plan.make_plan(synthetic.PRESETS['tiny'])
    store = ceilings.Redrawn(plan, plan.tracklets['test'])
    row = int(np.argmax([walk.frames for walk in plan.tracklets['test']]))
    frames = np.arange(6)
    straight, mixed = store.read(row, frames), ceilings.Shuffled(store).read(row, frames)
    assert not np.array_equal(straight, mixed)
    assert sorted(f.tobytes() for f in straight) == sorted(f.tobytes() for f in mixed)


class Colours(nn.Module):
    """A network that sees the mean colours of the four quarters of the height, of both halves of the width."""

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips, *, train):
        b, t, h, w, _ = clips.shape
        embedding = clips.reshape(b, t, 4, h // 4, 2, w // 2, 3).mean((1, 3, 5)).reshape(b, 24)
        return output.ModelOutput(embedding, embedding, jnp.zeros((b, 1)), {})


@pytest.fixture(scope='module')
def everything(tmp_path_factory):
    """Rendered walks with all that can be in the way."""
    preset = dataclasses.replace(
        synthetic.PRESETS['tiny'], name='everything', train_ids=2, test_ids=12, group_share=0.5, staying=0.4,
        stripes=0.3, clutter=0.8, wander=0.15,
    )  # fmt: skip
    root = synthetic.ensure_preset(tmp_path_factory.mktemp('data') / 'everything', preset, seed=0, progress=False)
    experiment = config.Experiment()
    experiment.data = config.Data(dataset='synthetic', root=str(root), height=64, width=32)
    experiment.test.frames = 2
    return root, experiment


@pytest.fixture
def helped(everything, monkeypatch):
    root, experiment = everything
    monkeypatch.setattr(synthetic, 'ensure', lambda *_: root)  # the preset has no name that a user could give
    meta = {'config': config.to_dict(experiment), 'labels': {}}
    return network.Network(experiment, Colours(), {}, meta, 1, sharding.make_mesh(jax.devices()[:1]))


@pytest.mark.slow
def test_every_oracle_that_has_a_use_is_scored_against_the_plain_network(helped):
    rows = {row.name: row for row in ceilings.ceilings(helped)}
    assert list(rows) == [
        'as it is', 'frames that show the person', 'nothing in the way', 'no dummies', 'right boxes', 'clips shuffled',
        'one frame of each clip',
    ]  # fmt: skip
    dataset = source.read(helped.experiment.data)
    found = helped.features(dataset)
    score = protocols.score(found, protocols.named('mars-paper'))
    plain = rows['as it is']
    assert plain.map == pytest.approx(score['mAP'])
    assert plain.rank1 == pytest.approx(score['cmc']['1'])
    assert plain.gain == 0
    assert rows['clips shuffled'].map == pytest.approx(plain.map)  # a mean knows no order
    assert rows['nothing in the way'].gain > 2
    assert rows['one frame of each clip'].map != plain.map
    for row in rows.values():
        assert row.gain == pytest.approx(row.map - plain.map)
        assert row.interval[0] <= row.gain <= row.interval[1]
        assert 0 <= row.look_alike_rank1 <= 100
        for attribute in ('occluded_when', 'hidden_stripe', 'clutter'):  # every query is in one stratum of each
            parts = [(one['queries'], one['mAP']) for one in row.strata if one['attribute'] == attribute]
            counts, gains = zip(*parts, strict=True)
            assert len(parts) > 1
            assert np.average(gains, weights=counts) == pytest.approx(row.gain)
    assert ceilings.ceilings(helped, only=['right boxes', 'sunshine']) == [plain, rows['right boxes']]
    text = ceilings.table(list(rows.values()), {}).split('\n')
    assert len(text) == 8
    assert text[1].split()[:3] == ['as', 'it', 'is']
    assert '[' not in text[1]


def test_the_oracle_of_the_shown_frames_reads_those_alone(helped):
    plan = synthetic_plan.read(helped.experiment.data.root)
    dataset = source.read(helped.experiment.data)
    shown = ceilings.shown_only(plan, dataset)
    for one, whole, walk in zip(shown.test, dataset.test, plan.tracklets['test'], strict=True):
        assert one.frames == tuple(whole.frames[i] for i in ceilings.shown_frames(plan, walk))
    assert sum(len(one.frames) for one in shown.test) < 0.8 * sum(len(one.frames) for one in dataset.test)


def test_a_network_of_another_size_is_refused(everything, tmp_path, monkeypatch):
    root, experiment = everything
    other = dataclasses.replace(experiment, data=dataclasses.replace(experiment.data, height=256, width=128))
    monkeypatch.setattr(checkpoint, 'find', lambda path: (path, 1))
    monkeypatch.setattr(checkpoint, 'read_meta', lambda *_: {'config': config.to_dict(other)})
    with pytest.raises(ValueError, match='takes frames of 256x128 with flow off; the oracles draw everything in 64x32'):
        ceilings.load(root, tmp_path)


@pytest.mark.slow
def test_the_command_prints_the_ceilings_and_what_skeletons_tell(helped, everything, monkeypatch, capsys):
    monkeypatch.setattr(ceilings, 'load', lambda root, path: helped if path == pathlib.Path('runs/plain') else None)
    assert ceilings.main(['tiny', '--root', str(everything[0]), '--checkpoint', 'runs/plain']) == 0
    said = capsys.readouterr().out
    assert [line.split('  ')[0] for line in said.split('\n')[1:-1]] == [
        'as it is', 'frames that show the person', 'nothing in the way', 'no dummies', 'right boxes', 'clips shuffled',
        'one frame of each clip', 'skeletons, each frame by itself', 'skeletons in order',
    ]  # fmt: skip
    assert ceilings.main(['tiny', '--root', str(everything[0])]) == 0
    assert capsys.readouterr().out.startswith('skeletons')
