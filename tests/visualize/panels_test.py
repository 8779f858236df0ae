"""Figures made of pictures: the values that their colours, captions and bars show are those of the arrays."""

import re

import numpy as np
import pytest

from jaxreid.visualize import attention_maps, memory_maps, panels
from tests.fixtures import coloured_frames

T, HEIGHT, WIDTH = 3, 16, 8
M = 4  # items


def scaled(values, low, high):
    return (values - low) / (high - low)


@pytest.fixture
def clip():
    rng = np.random.default_rng(0)
    match = rng.dirichlet(np.ones(M), (T, 4, 2))
    found = {
        'attention': rng.gamma(1.0, size=(T, 4, 2)),
        'frame_weights': rng.dirichlet(np.ones(T)),
        'stripe_scores': rng.dirichlet(np.ones(T), 2).T,
        'spatial_match': match,
        'refinement': rng.normal(size=(T, 4, 2)),
        'temporal_match': rng.dirichlet(np.ones(3)),
    }
    frames = rng.integers(0, 256, (T, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return panels.Clip('0007C1T0002', frames, np.array([2, 5, 11]), found)


def percents(text):
    return [float(x) for x in re.findall(r'([\d.]+)\u00a0%', text)]


def test_attention_is_that_of_each_frame_and_bars_are_its_weights(clip):
    plain, shown, stripes = panels.attention([clip], text='').rows
    for t, (frame, picture) in enumerate(zip(clip.frames, shown.pictures, strict=True)):
        values = clip.extras['attention'][t]
        coloured_frames.check(picture, frame, scaled(values, values.min(), values.max()))
        np.testing.assert_array_equal(plain.pictures[t].image, frame)
        assert plain.pictures[t].caption == f'frame {clip.positions[t] + 1}'
        assert percents(picture.caption) == [pytest.approx(100 * clip.extras['frame_weights'][t], abs=0.05)]
    assert shown.bars == clip.extras['frame_weights'].tolist()
    scores = clip.extras['stripe_scores']
    for t, picture in enumerate(stripes.pictures):
        seen = coloured_frames.values_seen(picture.image, clip.frames[t])
        for stripe, rows in ((0, slice(0, 8)), (1, slice(8, 16))):
            value = scaled(scores[t, stripe], scores.min(), scores.max())  # one scale: shares of a clip
            np.testing.assert_allclose(seen[rows], value, atol=0.03)
        assert [int(x) for x in picture.caption.split()] == [round(100 * s) for s in scores[t]]


def test_match_maps_have_one_scale_per_row_and_say_which(clip):
    (row,) = panels.match_maps([('net', clip)]).rows
    match = clip.extras['spatial_match'][1]  # of the frame in the middle
    np.testing.assert_array_equal(row.pictures[0].image, clip.frames[1])
    for m, picture in enumerate(row.pictures[1:]):
        coloured_frames.check(picture, clip.frames[1], scaled(match[:, :, m], match.min(), match.max()))
        assert percents(picture.caption) == [pytest.approx(100 * match[:, :, m].max(), abs=0.05)]
    assert percents(row.heading) == pytest.approx([100 * match.min(), 100 * match.max()], abs=0.05)
    assert 'frame 6' in row.heading


def test_refinement_is_red_where_features_get_longer_and_blue_where_shorter(clip):
    _, row = panels.refinement([clip]).rows
    change = clip.extras['refinement']
    largest = np.abs(change).max()
    assert f'-{largest:.3f} to red +{largest:.3f}' in row.heading
    for t, picture in enumerate(row.pictures):
        coloured_frames.check(
            picture,
            clip.frames[t],
            change[t] / largest,
            colours=attention_maps.diverging,
            steps=2 * coloured_frames.STEPS - 1,
        )
        assert picture.caption.startswith(f'{change[t].mean():+.3f}')


def test_frames_of_a_key_show_the_map_of_that_key(clip):
    one = panels.Clip(
        clip.name, clip.frames[1:2], clip.positions[1:2], {'spatial_match': clip.extras['spatial_match'][1:2]}
    )
    strongest = clip.extras['spatial_match'].max((1, 2))[None]
    found = memory_maps.frames_of_keys(strongest, count=1)
    panel = panels.key_frames(found, [[one]] * M)
    for m, row in enumerate(panel.rows):
        values = clip.extras['spatial_match'][1, :, :, m]
        coloured_frames.check(
            row.pictures[0], clip.frames[1], scaled(values, values.min(), values.max()), strength=0.35
        )
        assert percents(row.pictures[0].caption) == [pytest.approx(100 * strongest[0, :, m].max(), abs=0.05)]
        assert row.pictures[0].caption.startswith(f'{clip.name} no.\u00a0{clip.positions[1] + 1} ')


def test_sequences_of_a_key_stand_above_what_its_value_weighs(clip):
    values = np.array([[0.0, 1.0, 3.0], [2.0, -1.0, 0.5]])
    found = memory_maps.KeySequences(np.array([[0], [0]]), np.array([[0.75], [0.5]]))
    for row, value, match in zip(panels.key_sequences(found, values, [[clip], [clip]]).rows, values, (75, 50)):
        weights = np.exp(value) / np.exp(value).sum()
        np.testing.assert_allclose(row.bars, weights)
        assert percents(row.heading) == [match]
        for picture, weight, one, frame in zip(row.pictures, weights, value, clip.frames, strict=True):
            assert percents(picture.caption) == [pytest.approx(100 * weight, abs=0.05)]
            assert picture.caption.endswith(f'{one:.2f}')
            np.testing.assert_array_equal(picture.image, frame)


def test_temporal_attention_is_written_below_its_frames(clip):
    (row,) = panels.temporal([('as filmed', clip)]).rows
    assert row.bars == clip.extras['frame_weights'].tolist()
    assert percents(row.heading) == pytest.approx(100 * clip.extras['temporal_match'], abs=0.05)
    for picture, position, weight in zip(row.pictures, clip.positions, row.bars, strict=True):
        assert picture.caption.startswith(f'{position + 1}: ')
        assert percents(picture.caption) == [pytest.approx(100 * weight, abs=0.05)]
