import csv
import dataclasses
import hashlib
import json

import numpy as np
import pytest

from jaxreid.data.datasets import mars
from jaxreid.data.synthetic import attributes
from jaxreid.data.synthetic import person as synthetic_person
from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render as synthetic
from jaxreid.data.tracklets import frame_decode
from jaxreid.evaluation import feature_file, protocols
from jaxreid.evaluation.references import colour_baseline

CLAIMS = ('occlusion', 'distractors', 'misaligned', 'motion')


@pytest.fixture(scope='module')
def plans():
    return {name: synthetic_plan.make_plan(synthetic.PRESETS[name]) for name in CLAIMS}


def queries(plan):
    return [plan.tracklets['test'][row] for row in plan.queries]


def difference(plan, walk, **changed):
    """[F] share of the pixels that a change of a walk changes."""
    renderer = synthetic.Renderer(plan)
    pairs = zip(
        renderer.frames(walk, noise=False),
        renderer.frames(dataclasses.replace(walk, **changed), noise=False),
        strict=True,
    )
    return np.array([(np.abs(a.astype(int) - b).max(-1) > 8).mean() for a, b in pairs])


def test_half_of_the_occlusion_queries_are_hidden_for_two_fifths_of_the_time(plans):
    plan = plans['occlusion']
    known = [attributes.of(plan, walk) for walk in queries(plan)]
    hidden = np.array([float(one['occluded']) for one in known])
    assert 0.45 < (hidden >= 0.4).mean() < 0.6
    assert hidden.max() < 1  # there is always something to see
    when = [one['occluded_when'] for one, share in zip(known, hidden, strict=True) if share >= 0.4]
    assert min(when.count(part) for part in ('start', 'middle', 'end')) > 0.2 * len(when)
    striped = [one for one in known if one['hidden_stripe'] != 'none']
    assert 0.1 < len(striped) / len(known) < 0.3
    assert {one['hidden_stripe'] for one in striped} == {'1', '2', '3', '4'}
    assert min(float(one['stripe_hidden']) for one in striped) > 0.3


def test_frames_that_count_as_occluded_are_those_whose_pixels_something_covers(plans):
    plan = plans['occlusion']
    kinds = set()
    for walk in queries(plan)[:60]:
        if walk.occluder in ('crowd', 'van') and (walk.occluder, walk.occluder_when) not in kinds:
            kinds.add((walk.occluder, walk.occluder_when))
            occluded = attributes.occluded_frames(synthetic_plan.layout(plan, walk))
            covered = difference(plan, walk, occluder='none')
            assert covered[occluded].min() > 0.3
            body = synthetic_plan.layout(plan, walk)
            assert covered[body.hidden.sum(1) == 0].max(initial=0) < 0.35
    assert len(kinds) == 6


def test_a_board_covers_its_quarter_of_the_height_alone(plans):
    plan = plans['occlusion']
    walk = next(walk for walk in queries(plan) if walk.stripe == 3)
    renderer = synthetic.Renderer(plan)
    pairs = zip(
        renderer.frames(walk, noise=False),
        renderer.frames(dataclasses.replace(walk, occluder='none', stripe=0), noise=False),
        strict=True,
    )
    changed = np.array([(np.abs(a.astype(int) - b).max(-1) > 8).mean(1) for a, b in pairs])  # [F, H]
    body = synthetic_plan.layout(plan, walk)
    assert set(np.floor(body.joints[body.hidden][:, 1] / 16)) == {2}  # of the third quarter alone
    striped = attributes.striped_frames(plan, walk, body)
    assert changed[striped, 34:46].mean() > 0.6
    assert changed[:, :28].max() == changed[:, 52:].max() == 0
    assert striped.mean() == pytest.approx(float(attributes.of(plan, walk)['stripe_hidden']), abs=1e-3)


def test_dummies_stand_at_one_place_of_a_camera_in_anybodys_clothes(plans):
    plan = plans['distractors']
    sides, worn = {}, set()
    for walk in queries(plan):
        if walk.clutter >= 0:
            sides.setdefault(walk.camera, set()).add(attributes.of(plan, walk)['clutter'])
            worn.add(walk.clutter)
    assert {len(side) for side in sides.values()} == {1}
    assert set.union(*sides.values()) == {'left', 'right'}
    assert len(worn) > 50
    walk = next(walk for walk in queries(plan) if walk.clutter >= 0)
    assert 0.05 < difference(plan, walk, clutter=-1).min() <= difference(plan, walk, clutter=-1).max() < 0.4


def test_misaligned_boxes_are_off_in_every_frame_and_right_ones_are_not(plans):
    plan = plans['misaligned']
    for walk in queries(plan)[:20]:
        right = dataclasses.replace(walk, shift=(0.0, 0.0), zoom=1.0, wander=0.0)
        off, on = (attributes.of(plan, one) for one in (walk, right))
        assert float(off['shift']) > float(on['shift'])
        assert float(on['shift']) < 0.05
        assert float(on['cut']) <= 0.1
        assert float(on['scale']) == pytest.approx(1, abs=0.02)
        assert np.std(synthetic_plan.layout(plan, walk).scale) > 3 * np.std(synthetic_plan.layout(plan, right).scale)
    assert np.mean([float(attributes.of(plan, walk)['cut']) for walk in queries(plan)]) > 0.08


def test_look_alikes_of_the_motion_preset_differ_in_cadence_alone(plans):
    plan = plans['motion']
    for group in plan.groups['train'] + plan.groups['test']:
        people = [plan.people[plan.identities[i]] for i in group]
        assert len({p.appearance for p in people}) == len({p.build for p in people}) == 1
        assert len({dataclasses.replace(p.gait, cadence=1.0) for p in people}) == 1
        cadences = np.sort([p.gait.cadence for p in people])
        assert np.diff(cadences).min() > 0.4
        assert 2 * np.pi * 1.07 * cadences.max() / plan.preset.fps < np.pi / 2  # legs look alike half a cycle later
    cameras = {}
    for walk in plan.tracklets['test']:
        cameras.setdefault(walk.identity, set()).add(walk.camera)
    for first, second in plan.groups['test']:
        assert len(cameras[first]) == len(cameras[second]) == 3
        assert not cameras[first] & cameras[second]
    assert {attributes.of(plan, walk)['look_alikes'] for walk in queries(plan)} == {'1'}
    assert {walk.view for walk in queries(plan)} == {'right'}
    assert synthetic_person.draw_cadences(np.random.default_rng(0), 1)


def test_the_reader_gives_every_tracklet_its_row_of_the_table(tmp_path):
    root = synthetic.ensure(tmp_path / 'tiny', 'tiny', progress=False)
    dataset = mars.read(root)
    with open(root / 'info' / 'attributes.csv', newline='') as file:
        rows = {row.pop('tracklet'): row for row in csv.DictReader(file)}
    assert [dict(one.attributes) for one in (*dataset.train, *dataset.test)] == [
        rows[one.name] for one in (*dataset.train, *dataset.test)
    ]
    assert len({one.attributes['view'] for one in dataset.test}) == 4


def test_a_frame_is_occluded_from_half_of_the_joints_on_and_striped_behind_a_board_only():
    plan = synthetic_plan.make_plan(synthetic.PRESETS['tiny'])
    walk = dataclasses.replace(plan.tracklets['test'][0], stripe=0)
    joints = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]], bool)
    middle = plan.preset.width * np.array([0.5, 1.5, 0.1])
    body = synthetic_plan.layout(plan, walk)._replace(hidden=joints, occluder_x=middle)
    assert attributes.occluded_frames(body).tolist() == [True, False, True]
    for stripe, expected in ((0, [False] * 3), (2, [True, False, True])):
        striped = attributes.striped_frames(plan, dataclasses.replace(walk, stripe=stripe), body)
        assert striped.tolist() == expected


# Of the descriptions that were written before people had several outfits.
BEFORE = {
    'tiny': 'ef2260e865b8cf14', 'demo': 'c3b0cf69e962c085', 'gait': 'e74d5aa9e5dae26a', 'people': '44da54475cd75df4',
    'occlusion': 'bb20f0dfc0abc6ba', 'distractors': '22284957612f9ca0', 'misaligned': '10d25093d76106ce',
    'motion': '7a5ff248bdd26f72',
}  # fmt: skip


@pytest.mark.parametrize('name', list(BEFORE))
def test_older_presets_keep_their_bytes(name):
    said = synthetic_plan.make_plan(synthetic.PRESETS[name]).to_json()
    assert hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16] == BEFORE[name]


def test_people_of_the_outfits_preset_change_their_clothes_and_nothing_else():
    plan = synthetic_plan.make_plan(synthetic.PRESETS['outfits'])
    worn = {}
    for walks in plan.tracklets.values():
        for walk in walks:
            if walk.identity > 0:
                person = plan.people[walk.person]
                assert worn.setdefault((walk.identity, walk.outfit), person) == person
    assert {outfit for _, outfit in worn} == {1, 2}
    for (identity, outfit), person in worn.items():
        first = plan.people[plan.identities[identity]]
        assert (person.build, person.gait) == (first.build, first.gait)
        body = ('skin', 'hair', 'hair_style')
        assert [getattr(person.appearance, k) for k in body] == [getattr(first.appearance, k) for k in body]
        assert (person.appearance == first.appearance) == (outfit == 1)
    assert len({person.appearance for person in worn.values()}) == len(worn)
    assert all(walk.outfit == 0 for walk in plan.tracklets['test'] if walk.identity < 1)
    places = [(walk.identity, walk.camera, walk.outfit) for walk in queries(plan)]
    assert len(set(places)) == len(places) == 351  # as docs/synthetic.md says
    assert synthetic_plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.slow
def test_colours_find_people_in_the_same_clothes_and_not_in_others(tmp_path):
    """The three rules come apart: colour is enough for the same clothes and nearly worthless where they change."""
    preset = dataclasses.replace(synthetic.PRESETS['outfits'], name='few', train_ids=1, test_ids=14, max_frames=12)
    root = synthetic.ensure_preset(tmp_path / 'few', preset, seed=0, progress=False)
    dataset = mars.read(root)
    assert {one.attributes.get('outfit', '') for one in dataset.test} == {'', '1', '2'}
    clips = [
        np.stack([frame_decode.decode_as_stored((root / path).read_bytes()) for path in one.frames])
        for one in dataset.test
    ]
    camera = np.array([one.camera for one in dataset.test])
    found = feature_file.Features(
        embedding=colour_baseline.features(clips, camera), embedding_before_neck=None,
        pid=np.array([one.pid for one in dataset.test]), camera=camera, query=dataset.query, gallery=dataset.gallery,
        name=np.array([one.name for one in dataset.test]), frames=np.ones(len(camera), int), meta={},
        attributes={'outfit': np.array([one.attributes.get('outfit', '') for one in dataset.test])},
    )  # fmt: skip
    rank1 = {
        name: protocols.score(found, protocols.named(name))['cmc']['1']
        for name in ('general', 'same-clothes', 'clothes-changing')
    }
    assert rank1['same-clothes'] > rank1['clothes-changing'] + 30
    assert rank1['general'] > rank1['clothes-changing'] + 30
