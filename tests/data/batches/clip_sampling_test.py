import numpy as np
import pytest

from jaxreid import config
from jaxreid.data.batches import clip_sampling
from tests.oracles import sampling

TEST = dict(seed=0, row=0)
LENGTHS = [1, 2, 3, 4, 5, 7, 8, 9, 12]


def _seen(num_frames, *, draws=3000, **kwargs):
    rng = np.random.default_rng(0)
    return {tuple(clip_sampling.train_clip(num_frames, rng, **kwargs).tolist()) for _ in range(draws)}


@pytest.mark.parametrize('num_frames', LENGTHS)
@pytest.mark.parametrize(('frames', 'stride'), [(3, 2), (1, 3), (2, 4)])
def test_stride_crop_draws_exactly_the_clips_of_the_rule(num_frames, frames, stride):
    seen = _seen(num_frames, kind='stride_crop', frames=frames, stride_frames=stride)
    assert seen == sampling.stride_crops(num_frames, frames, stride)


def test_stride_crop_of_the_paper_strides_from_32_frames_on():
    assert _seen(33, kind='stride_crop', frames=4, stride_frames=8) == {
        tuple(range(start, start + 25, 8)) for start in range(9)
    }
    assert all(len(set(clip)) == 4 for clip in _seen(31, kind='stride_crop', frames=4, stride_frames=8))
    assert any(clip[1] - clip[0] != 8 for clip in _seen(31, kind='stride_crop', frames=4, stride_frames=8))


@pytest.mark.parametrize('num_frames', LENGTHS)
@pytest.mark.parametrize('frames', [1, 3, 4])
def test_random_draws_exactly_the_clips_of_the_rule(num_frames, frames):
    seen = _seen(num_frames, draws=6000, kind='random', frames=frames, stride_frames=1)
    assert seen == sampling.random_clips(num_frames, frames)


@pytest.mark.parametrize('num_frames', LENGTHS)
@pytest.mark.parametrize('frames', [1, 3, 4])
def test_rrs_draws_exactly_the_clips_of_the_rule(num_frames, frames):
    seen = _seen(num_frames, kind='rrs', frames=frames, stride_frames=1)
    assert seen == sampling.rrs_clips(num_frames, frames)
    first = clip_sampling.test_clips(num_frames, kind='rrs', frames=frames, **TEST)
    assert first.tolist() == [sampling.rrs_test(num_frames, frames)]


@pytest.mark.parametrize('frames', [1, 4, 6])
def test_rrs_of_as_many_frames_as_there_are_takes_every_frame(frames):
    every = np.arange(frames)
    np.testing.assert_array_equal(clip_sampling.rrs(frames, np.random.default_rng(0), frames=frames), every)
    np.testing.assert_array_equal(clip_sampling.rrs_first(frames, frames=frames), every)


def test_rrs_draws_each_frame_of_a_chunk_equally_often():
    rng = np.random.default_rng(1)
    clips = np.stack([clip_sampling.rrs(8, rng, frames=2) for _ in range(4000)])
    counts = np.bincount(clips.reshape(-1), minlength=8)
    np.testing.assert_allclose(counts, 1000, atol=130)  # more than four deviations


@pytest.mark.parametrize('num_frames', LENGTHS)
@pytest.mark.parametrize('frames', [1, 3, 6])
def test_consecutive_draws_exactly_the_clips_of_the_rule(num_frames, frames):
    seen = _seen(num_frames, kind='consecutive', frames=frames, stride_frames=1)
    assert seen == sampling.consecutive_clips(num_frames, frames)


@pytest.mark.parametrize('frames', [1, 2, 4, 6])
@pytest.mark.parametrize('num_frames', [*LENGTHS, 6, 13, 24, 25, 26, 41, 60])
def test_begin_crop_takes_the_widest_stride_that_fits(num_frames, frames):
    expected = sampling.begin_crop(num_frames, frames)
    assert clip_sampling.test_clips(num_frames, kind='begin_crop', frames=frames, **TEST).tolist() == [expected]
    assert _seen(num_frames, draws=2, kind='begin_crop', frames=frames, stride_frames=1) == {tuple(expected)}


def test_begin_crop_changes_its_stride_at_the_published_lengths():
    strides = [int(np.diff(clip_sampling.begin_crop(n, frames=4))[0]) for n in (4, 6, 7, 12, 13, 24, 25, 900)]
    assert strides == [1, 1, 2, 2, 4, 4, 8, 8]


@pytest.mark.parametrize('frames', [1, 2, 4, 6])
@pytest.mark.parametrize('num_frames', [*LENGTHS, 60])
def test_all_frames_holds_every_frame_once_and_loops_the_last_clip(num_frames, frames):
    clips = clip_sampling.test_clips(num_frames, kind='all_frames', frames=frames, **TEST)
    assert clips.tolist() == sampling.all_frames(num_frames, frames)
    assert set(clips.reshape(-1).tolist()) == set(range(num_frames))


@pytest.mark.parametrize('frames', [1, 2, 4, 6])
@pytest.mark.parametrize('num_frames', [*LENGTHS, 60, 61])
@pytest.mark.parametrize('kind', ['interleaved', 'even', 'whole'])
def test_kinds_without_chance_list_what_the_slow_rule_lists(kind, num_frames, frames):
    expected = getattr(sampling, kind)(num_frames, frames)
    clips = clip_sampling.test_clips(num_frames, kind=kind, frames=frames, **TEST)
    assert clips.tolist() == (expected if kind == 'interleaved' else [expected])


def test_interleaved_clips_span_the_tracklet_and_drop_the_remainder():
    clips = clip_sampling.interleaved(20, frames=6)
    assert clips.tolist() == [[0, 3, 6, 9, 12, 15], [1, 4, 7, 10, 13, 16], [2, 5, 8, 11, 14, 17]]
    assert clip_sampling.interleaved(3, frames=6).tolist() == [[0, 1, 2, 2, 2, 2]]


@pytest.mark.parametrize('num_frames', LENGTHS)
def test_even_frames_are_distinct_where_there_are_enough(num_frames):
    clip = clip_sampling.even(num_frames, frames=4)
    assert len(set(clip.tolist())) == min(num_frames, 4)


@pytest.mark.parametrize('num_frames', [1, 2, 3, 4, 7])
@pytest.mark.parametrize('frames', [1, 4])
def test_random_test_clips_are_those_of_the_rule_and_depend_on_seed_and_tracklet_alone(num_frames, frames):
    def clip(seed, row):
        return tuple(clip_sampling.test_clips(num_frames, kind='random', frames=frames, seed=seed, row=row)[0].tolist())

    for vary in (lambda i: (0, i), lambda i: (i, 0)):
        assert {clip(*vary(i)) for i in range(1000)} == sampling.random_clips(num_frames, frames)
    assert clip(3, 4) == clip(3, 4)


@pytest.mark.parametrize('kind', config.choices('test.clips'))
@pytest.mark.parametrize('num_frames', LENGTHS)
def test_number_of_test_clips_is_known_beforehand(kind, num_frames):
    clips = clip_sampling.test_clips(num_frames, kind=kind, frames=4, **TEST)
    assert len(clips) == clip_sampling.num_test_clips(num_frames, kind=kind, frames=4)


@pytest.mark.parametrize('kind', config.choices('sampler.clip'))
@pytest.mark.parametrize('num_frames', [1, 2, 3, 31, 32, 900])
def test_every_kind_gives_positions_of_the_tracklet_that_depend_on_the_generator_alone(kind, num_frames):
    clips = [
        clip_sampling.train_clip(num_frames, np.random.default_rng(5), kind=kind, frames=4, stride_frames=8)
        for _ in range(2)
    ]
    assert clips[0].shape == (4,)
    assert clips[0].dtype.kind == 'i'
    assert clips[0].min() >= 0
    assert clips[0].max() < num_frames
    np.testing.assert_array_equal(*clips)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="'stride'"):
        clip_sampling.train_clip(9, np.random.default_rng(0), kind='stride', frames=4, stride_frames=8)
    with pytest.raises(ValueError, match="'all'"):
        clip_sampling.test_clips(9, kind='all', frames=4, **TEST)
