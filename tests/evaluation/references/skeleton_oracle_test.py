import dataclasses
import json

import cv2
import numpy as np
import pytest

from jaxreid.data.synthetic import plan as synthetic_plan
from jaxreid.data.synthetic import render
from jaxreid.evaluation.references import skeleton_oracle


@pytest.fixture(scope='module')
def gait():
    return synthetic_plan.make_plan(dataclasses.replace(render.PRESETS['gait'], train_ids=4, test_ids=24))


def stored(plan):
    """The plan as it lies on disk."""
    return json.loads(json.dumps(plan.to_json()))


def stride_crop(frames, rng):
    """A training clip (configs of STRF: every 8th frame), written on its own."""
    if frames >= 32:
        return rng.integers(0, frames - 24) + 8 * np.arange(4)
    return np.sort(rng.choice(frames, 4, replace=frames < 4))


@pytest.mark.parametrize('sampling', ['stride 1', 'stride 2', 'stride_crop'])
def test_four_skeletons_tell_lookalikes_apart(gait, sampling):
    rng = np.random.default_rng(0)
    clips = {}
    for q in gait.queries:
        tracklet = gait.tracklets['test'][q]
        match sampling:
            case 'stride_crop':
                clips[tracklet.name] = stride_crop(tracklet.frames, rng)
            case _:
                clips[tracklet.name] = skeleton_oracle.consecutive_frames(tracklet.frames, stride=int(sampling[-1]))
    score = skeleton_oracle.skeleton_accuracy(stored(gait), clips)
    assert score.accuracy >= 90
    assert score.chance == 25
    assert score.queries > 50


def test_the_difference_is_in_the_gait_and_not_only_in_the_build(gait):
    clips = {
        gait.tracklets['test'][q].name: skeleton_oracle.consecutive_frames(gait.tracklets['test'][q].frames)
        for q in gait.queries
    }
    assert skeleton_oracle.skeleton_accuracy(stored(gait), clips, use='gait').accuracy >= 90
    assert skeleton_oracle.skeleton_accuracy(stored(gait), clips, use='build').accuracy < 95


def test_coarser_skeletons_tell_less(gait):
    clips = {gait.tracklets['test'][q].name: [0] for q in gait.queries}
    fine = skeleton_oracle.skeleton_accuracy(stored(gait), clips)
    blind = skeleton_oracle.skeleton_accuracy(stored(gait), clips, pixel=1000.0)
    assert blind.accuracy < 50 < fine.accuracy


def pixel_misfit(gait, tracklet, chosen, seen, body, monkeypatch):
    """Least mean square between `seen` and `body` drawn into the scene in its place, over the phase of the walk."""
    shape = synthetic_plan.layout(gait, tracklet)
    people = gait.people.copy()
    people[tracklet.person] = body
    still = [dataclasses.replace(camera, noise=0.0) for camera in gait.cameras]
    renderer = render.Renderer(dataclasses.replace(gait, people=people, cameras=still))
    scale = shape.scale * (gait.people[tracklet.person].build.height / body.build.height)
    time = np.arange(tracklet.frames) / gait.preset.fps
    tried = []
    for start in np.arange(16) * (2 * np.pi / 16):
        phase = start + 2 * np.pi * body.gait.cadence * (time - time[chosen[0]])
        with monkeypatch.context() as patch:
            patch.setattr(synthetic_plan, 'layout', lambda *of, at=phase: shape._replace(phase=at, scale=scale))
            drawn = np.stack(list(renderer.frames(tracklet, only=chosen)))
        tried.append(((drawn - seen.astype(float)) ** 2).mean())
    return min(tried)


@pytest.mark.slow
def test_the_difference_is_in_the_pixels(gait, monkeypatch):
    renderer = render.Renderer(gait)
    grouped = {i for group in gait.groups['test'] for i in group}
    right = []
    for tracklet in [t for t in gait.tracklets['test'] if t.identity in grouped and t.content == 'person'][::12][:6]:
        chosen = skeleton_oracle.consecutive_frames(tracklet.frames)
        frames = [
            cv2.imdecode(cv2.imencode('.jpg', f)[1], cv2.IMREAD_COLOR) for f in renderer.frames(tracklet, only=chosen)
        ]
        mates = next(group for group in gait.groups['test'] if tracklet.identity in group)
        bodies = [gait.people[gait.identities[i]] for i in mates]
        errors = [pixel_misfit(gait, tracklet, chosen, np.stack(frames), body, monkeypatch) for body in bodies]
        right.append(mates[int(np.argmin(errors))] == tracklet.identity)
    assert len(right) >= 5
    assert np.mean(right) >= 0.8


def test_middle_clip_is_consecutive_and_short_tracklets_loop():
    assert skeleton_oracle.consecutive_frames(12).tolist() == [4, 5, 6, 7]
    assert skeleton_oracle.consecutive_frames(12, stride=2).tolist() == [2, 4, 6, 8]
    assert skeleton_oracle.consecutive_frames(4).tolist() == [0, 1, 2, 3]
    assert skeleton_oracle.consecutive_frames(3).tolist() == [0, 1, 2, 0]
    assert skeleton_oracle.consecutive_frames(1).tolist() == [0, 0, 0, 0]


def test_wrong_input_is_refused(gait):
    description = stored(gait)
    first = gait.tracklets['test'][gait.queries[0]]
    with pytest.raises(ValueError, match='no tracklet'):
        skeleton_oracle.skeleton_accuracy(description, {'9999C1T0001': [0]})
    with pytest.raises(ValueError, match='has frames 0 to'):
        skeleton_oracle.skeleton_accuracy(description, {first.name: [first.frames]})
    with pytest.raises(ValueError, match='use is'):
        skeleton_oracle.skeleton_accuracy(description, {first.name: [0]}, use='face')
    with pytest.raises(ValueError, match='nothing to tell apart'):
        skeleton_oracle.skeleton_accuracy(description, {})
