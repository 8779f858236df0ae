"""Maps over frames and what the memories of STMN hold, against loops and by eye."""

import numpy as np
import pytest

from jaxreid.visualize import attention_maps, memory_maps
from tests.oracles import rankings as oracle


@pytest.mark.parametrize('size', [(7, 5), (16, 8), (3, 2), (2, 9)])
def test_maps_are_enlarged_linearly_between_the_centres(size):
    values = np.random.default_rng(0).random((2, 3, 2))
    found = attention_maps.enlarged(values, height=size[0], width=size[1])
    for one, expected in zip(found, values):
        np.testing.assert_allclose(one, oracle.enlarged(expected.tolist(), *size), atol=1e-6)


def test_each_map_is_scaled_by_itself_or_together():
    maps = np.array([[[1.0, 2.0]], [[3.0, 7.0]]])  # [2, 1, 2]
    np.testing.assert_allclose(attention_maps.scaled(maps), [[[0, 1]], [[0, 1]]])
    np.testing.assert_allclose(attention_maps.scaled(maps, together=1), [[[0, 1 / 6]], [[2 / 6, 1]]], rtol=1e-6)


def test_a_map_without_differences_is_dark():
    assert not attention_maps.scaled(np.full((2, 3, 3), 0.7)).any()


def test_signed_maps_keep_their_zero():
    values, largest = attention_maps.signed(np.array([-4.0, 0.0, 1.0]))
    np.testing.assert_allclose(values, [-1, 0, 0.25])
    assert largest == 4
    assert attention_maps.signed(np.zeros(3))[1] == 0


def test_colours_get_lighter_with_the_value_and_white_is_no_change():
    lightness = attention_maps.heat(np.linspace(0, 1, 33)) @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
    below, none, above = attention_maps.diverging(np.array([-1.0, 0.0, 1.0])).astype(int)
    assert below[2] > below[0]
    assert (none >= 247).all()
    assert above[0] > above[2]


def test_an_overlay_of_full_strength_hides_the_frame_and_of_none_leaves_it_grey():
    rng = np.random.default_rng(1)
    frames, colours = (rng.integers(0, 256, (2, 4, 3, 3), dtype=np.uint8) for _ in range(2))
    np.testing.assert_array_equal(attention_maps.overlay(frames, colours, strength=1.0), colours)
    grey = attention_maps.overlay(frames, colours, strength=0.0)
    assert (grey == grey[..., :1]).all()


def test_the_brightest_place_of_an_overlay_is_where_the_map_is_highest():
    frames = np.full((1, 8, 8, 3), 128, np.uint8)
    maps = np.zeros((1, 4, 4))
    maps[0, 3, 1] = 1
    found = attention_maps.over_frames(frames, maps)[0].sum(-1)
    assert np.unravel_index(found.argmax(), found.shape)[0] >= 6


def test_frames_of_a_key_are_the_highest_of_different_tracklets():
    strongest = np.random.default_rng(2).random((6, 4, 3)).astype(np.float32)  # tracklets, frames, items
    found = memory_maps.frames_of_keys(strongest, count=4)
    for item in range(3):
        best = sorted(
            ((max(strongest[n, :, item]), -n) for n in range(6)), reverse=True
        )[:4]  # fmt: skip
        assert found.tracklet[item].tolist() == [-n for _, n in best]
        for n, frame, value in zip(found.tracklet[item], found.frame[item], found.match[item]):
            assert value == strongest[n, frame, item] == strongest[n, :, item].max()


def test_fewer_tracklets_than_asked_for_give_fewer_frames():
    assert memory_maps.frames_of_keys(np.ones((2, 3, 4)), count=7).tracklet.tolist() == [[0, 1]] * 4


def test_sequences_of_a_key_are_those_that_read_it_most():
    match = np.array([[0.1, 0.9], [0.5, 0.5], [0.7, 0.3]])
    found = memory_maps.sequences_of_keys(match, count=2)
    assert found.tracklet.tolist() == [[2, 1], [0, 1]]
    np.testing.assert_allclose(found.match, [[0.7, 0.5], [0.9, 0.5]])


def test_the_weights_of_a_value_are_its_softmax():
    values = np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]])
    np.testing.assert_allclose(memory_maps.attention_of_values(values), [[0.25, 0.75], [0.5, 0.5]])


@pytest.mark.parametrize('frames', [1, 2, 3, 6])
def test_a_reordering_holds_every_frame_and_changes_the_order(frames):
    for seed in range(20):
        order = memory_maps.reordering(frames, seed=seed).tolist()
        assert sorted(order) == list(range(frames))
        assert frames == 1 or order != list(range(frames))


def test_queries_that_change_most_gain_first_and_those_that_do_not_change_are_left_out():
    before = np.array([0.5, 0.5, 0.5, 0.5, 0.5])
    after = np.array([0.6, 0.4, 0.9, 0.5, 0.1])
    found = memory_maps.changed_most(before, after, count=4)
    assert [entry['query'] for entry in found] == [2, 0, 4, 1]
    assert memory_maps.changed_most(before, before, count=4) == []
