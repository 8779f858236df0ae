import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.models import build, cost

SIZE = {'frames': 4, 'height': 256, 'width': 128}


@functools.cache
def model(block, strf_stages=(), *, num_ids=625, nonlocal_blocks=False):
    e = config.Experiment(backbone=config.Backbone(block=block), strf=config.Strf(stages=strf_stages))
    if nonlocal_blocks:
        e.nonlocal_blocks = config.NonLocal(stage2=(1, 3), stage3=(1, 3, 5))
    return build.build(e, num_ids=num_ids, dtype=jnp.float32)


def count(*args, **kwargs):
    return cost.parameters(cost.shapes(model(*args, **kwargs), frames=1, height=32, width=16))[0]


@pytest.mark.parametrize(
    ('block', 'strf_stages', 'num_ids', 'expected'),
    [
        ('c2d', (), 625, 24_792_753),
        ('i3d', (), 625, 28_921_521),
        ('i3d', (2, 3), 625, 28_978_865),
        ('p3da', (), 625, 25_480_881),
        ('p3db', (), 625, 25_480_881),
        ('p3dc', (), 625, 25_480_881),
        ('p3da', (2, 3), 625, 25_538_225),
        ('p3db', (2, 3), 625, 25_538_225),
        ('p3dc', (2, 3), 625, 25_538_225),
        ('i3d', (), 702, 29_079_294),
        ('i3d', (2, 3), 702, 29_136_638),
        ('p3dc', (), 702, 25_638_654),
        ('p3dc', (2, 3), 702, 25_695_998),
        ('i3d', (), 150, 27_948_246),
        ('i3d', (2, 3), 150, 28_005_590),
        ('p3dc', (), 150, 24_507_606),
        ('p3dc', (2, 3), 150, 24_564_950),
        ('p3dc', (1,), 625, 25_507_505),
        ('p3dc', (1, 2), 625, 25_515_697),
        ('p3dc', (1, 2, 3), 625, 25_564_849),
        ('p3dc', (2, 3, 4), 625, 27_242_161),
        ('p3dc', (1, 2, 3, 4), 625, 27_268_785),
        ('p3dc', (2,), 625, 25_489_073),
        ('p3dc', (3,), 625, 25_530_033),
        ('p3dc', (3, 4), 625, 27_233_969),
    ],
)
def test_parameter_counts_are_those_of_the_published_tables(block, strf_stages, num_ids, expected):
    assert count(block, strf_stages, num_ids=num_ids) == expected


def test_five_nonlocal_blocks_have_their_published_size():
    assert count('p3dc', nonlocal_blocks=True) == 32_839_345


def test_parts_add_up_and_are_those_of_the_specification():
    total, parts = cost.parameters(cost.shapes(model('p3dc', (2, 3)), frames=1, height=32, width=16))
    assert parts == {
        'stem': 9_536,
        'layer1': 215_808,
        'layer2': 1_219_584,
        'layer3': 7_098_368,
        'layer4': 14_964_736,
        'temporal': 688_128,
        'strf': 57_344,
        'head': 4_096 + 1_280_625,
    }
    assert total == sum(parts.values())


@pytest.mark.parametrize(
    ('block', 'strf_stages', 'expected'),
    [
        ('c2d', (), 4.0533),
        ('p3dc', (), 4.1791),
        ('p3dc', (2, 3), 4.369),
        ('p3da', (2, 3), 4.369),
        ('i3d', (2, 3), 6.285),
    ],
)
def test_dense_multiply_accumulates_are_those_counted_by_hand(block, strf_stages, expected):
    m = model(block, strf_stages)
    decimals = len(str(expected).partition('.')[2])
    assert round(cost.gmacs_per_frame(m, cost.shapes(m, **SIZE), **SIZE), decimals) == expected


def test_work_is_counted_inside_loops_and_not_where_its_result_is_unused():
    def work(x, k):
        y = jax.lax.conv_general_dilated(x, k, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
        z = jax.lax.map(jax.checkpoint(lambda row: row @ row.T), y.reshape(5, -1, 4))
        unused = y.reshape(-1, 4) @ jnp.ones((4, 100))
        return z, unused

    jaxpr = jax.make_jaxpr(lambda *a: work(*a)[0])(np.ones((5, 3, 2, 6)), np.ones((3, 3, 6, 4))).jaxpr
    assert cost.macs(jaxpr) == 5 * 3 * 2 * 4 * 9 * 6 + 5 * 6 * 6 * 4


def test_of_what_platforms_do_in_their_own_way_one_is_counted():
    x = jnp.ones((3, 5))

    def product(x):
        return jax.lax.platform_dependent(x, cuda=lambda x: x @ x.T[:, :3], default=lambda x: x @ x.T)

    assert cost.macs(jax.make_jaxpr(product)(x).jaxpr) == 3 * 3 * 5
