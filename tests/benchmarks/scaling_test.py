"""The collectives of a training step are counted, pinned, and put into a stated model."""

import jax
import pytest

from benchmarks import collectives, scaling
from configs import strf_synthetic

pytestmark = pytest.mark.slow


def small(groups, mining):
    e = strf_synthetic.get_config('tiny')
    e.backbone.width, e.train.bn_groups, e.loss.mining = 8, groups, mining
    return e


@pytest.mark.skipif(len(jax.devices()) < 8, reason='compiles for eight devices')
def test_a_step_with_statistics_of_each_device_sends_its_gradient_and_little_else():
    """One all-reduce: what the loss reports goes with all the rest. One more per layer would be the old trap."""
    found, gradient = collectives.of_train_step(small(8, 'gather'), 8)
    assert found.count == {'all-reduce': 1, 'all-gather': 2, 'reduce-scatter': 1}
    assert gradient <= found.bytes['all-reduce'] <= 1.3 * gradient
    rows = 32 * (8 * 32 * 4 + 4)  # all embeddings in float32, and their labels
    assert found.bytes['all-gather'] == rows


@pytest.mark.skipif(len(jax.devices()) < 8, reason='compiles for eight devices')
def test_statistics_over_all_devices_cost_at_most_two_small_all_reduces_a_layer_and_the_ring_gathers_nothing():
    layers = 1 + 4 * (3 + 1) + 1  # stem, three of every block and its shortcut, neck
    found, _ = collectives.of_train_step(small(1, 'ring'), 8)
    assert found.count['all-reduce'] <= 2 * layers + 2
    assert 'all-gather' not in found.count
    assert found.count['collective-permute'] == 4


def test_the_model_of_weak_scaling_by_hand():
    links = scaling.Links('hand', inside=1e9, between=1e8, hop_inside=1e-6, hop_between=1e-5, node=8)

    def efficiency(n, mining, gradient=0, statistics=(0, 0)):
        return scaling.efficiency(
            n, links, step=1e-2, gradient=gradient, statistics=statistics, rows=1, mining=mining, mine_block=0.0
        )

    assert efficiency(8, 'gather') == pytest.approx(1e-2 / (1e-2 + 2 * (7 * 8192 / 1e9 + 3e-6)))
    # 16 devices: a gradient that takes longer than the backward pass shows by the difference.
    seconds = 2 * 15 / 16 * 1e7 / 1e8 + 3e-6 + 1e-5
    expected = 1e-2 + (seconds - 2e-2 / 3) + 2 * 15 * (8192 / 1e8 + 1e-5)
    assert efficiency(16, 'ring', gradient=10**7) == pytest.approx(1e-2 / expected)
    waited = 100 * 3e-6 + 2 * 7 / 8 * 1000 / 1e9
    assert 1e-2 / efficiency(8, 'gather', statistics=(100, 1000)) == pytest.approx(
        1e-2 / efficiency(8, 'gather') + waited
    )
    assert scaling.LINKS[1].latency(64) == pytest.approx(12e-6)
