import functools

import jax
import numpy as np
import pytest

from jaxreid import sharding
from jaxreid.losses import frame_contrast

D = 5


def features(clips=8, frames=4, seed=0):
    return np.random.default_rng(seed).normal(size=(clips, frames, D)).astype(np.float64)


def loss(x, *, axis_name=None, pieces=2):
    return frame_contrast.frame_contrast(x, pieces_per_id=pieces, temperature=0.3, axis_name=axis_name)


@pytest.mark.parametrize(('frames', 'pieces'), [(4, 2), (4, 4), (8, 4), (12, 3)])
def test_value_and_gradient_are_those_of_the_loops(frames, pieces):
    torch = pytest.importorskip('torch')
    from tests.oracles import torch_sinet

    x = features(frames=frames)
    x_torch = torch.tensor(x, requires_grad=True)
    expected = torch_sinet.frame_contrast(x_torch, pieces, 0.3)
    expected.backward()
    with jax.enable_x64(True):
        value, grad = jax.value_and_grad(functools.partial(loss, pieces=pieces))(x)
    assert expected > 0
    np.testing.assert_allclose(value, expected.detach(), rtol=1e-10)
    np.testing.assert_allclose(grad, x_torch.grad, rtol=1e-7, atol=1e-10)


def test_frames_that_differ_by_place_only_cost_less_than_those_that_differ_by_clip_only():
    places = np.eye(4, D)[None].repeat(4, 0)
    clips = np.eye(4, D)[:, None].repeat(4, 1)
    assert float(loss(places, pieces=4)) < 0.5
    assert float(loss(clips, pieces=4)) > 3


@pytest.mark.parametrize('devices', [2, 8])
def test_devices_that_share_a_person_give_value_and_gradient_of_one(devices):
    with jax.enable_x64(True):
        x = features()
        split = jax.value_and_grad(functools.partial(loss, axis_name=sharding.AXIS, pieces=4))
        mesh = sharding.make_mesh(jax.devices()[:devices])
        specs = {'in_specs': sharding.SPLIT, 'out_specs': (sharding.COPIED, sharding.SPLIT)}
        value, grad = jax.jit(jax.shard_map(split, mesh=mesh, **specs))(x)
        expected, to_x = jax.value_and_grad(functools.partial(loss, pieces=4))(x)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    np.testing.assert_allclose(grad, to_x, rtol=1e-9, atol=1e-12)
