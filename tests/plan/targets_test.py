"""Names of targets, their sizes, and what is said where there is none."""

import dataclasses
import importlib.util

import pytest

from jaxreid import config
from jaxreid.plan import targets


def test_a_name_says_kind_and_size():
    slice_, node = targets.parse('v5p:2x2x4'), targets.parse('h200:8')
    assert (slice_.devices, slice_.chip.platform, slice_.hops) == (16, 'tpu', 1 + 1 + 2)
    assert (node.devices, node.sides, node.hops) == (8, (1, 8), 3)
    assert targets.parse('a100:16').sides == (2, 8)


def test_a_corner_of_a_slice_has_one_port_along_each_axis_and_hosts_share_less_than_a_node():
    assert targets.parse('v5e:4x4').link == 2 * 50e9
    assert targets.parse('v5e:1x4').link == 50e9
    assert targets.parse('h100:8').link == 450e9
    assert targets.parse('h100:64').link == targets.BETWEEN_HOSTS


def test_what_jax_hands_out_of_a_gpu_is_a_part_of_it():
    assert targets.parse('v5e:1x1').memory == 16 * 2**30
    assert targets.parse('a100:1').memory == 60 * 2**30


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('b200:8', "no target 'b200:8'; expected v5e, v5p, v6e, a100, h100, h200"),
        ('v5e', "'v5e' has no size that v5e has; expected one as v5e:4x4"),
        ('v5e:4', 'expected one as v5e:4x4'),
        ('v5p:4x4', 'expected one as v5p:4x4x4'),
        ('h200:2x4', 'expected one as h200:8, a number of GPUs'),
        ('h200:0', 'expected one as h200:8'),
        ('h200:12', 'up to 8 GPUs, or whole hosts of 8'),
    ],
)
def test_a_wrong_target_is_one_line(name, said):
    with pytest.raises(config.ConfigError, match=said) as raised:
        targets.parse(name)
    assert '\n' not in str(raised.value)


def test_a_compiler_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    for name, said in (
        ('v6e:4x4', r"libtpu.*pip install 'jax\[tpu\]==\d"),
        ('a100:1', r"pip install 'jax\[cuda13\]==\d"),
    ):
        with pytest.raises(ImportError, match=said) as raised:
            targets.check_compiler(targets.parse(name))
        assert '\n' not in str(raised.value)


def test_every_gpu_has_a_description_that_agrees_with_its_data_sheet():
    for kind, chip in targets.CHIPS.items():
        if chip.platform == 'cuda':
            text = (targets.GPUS / f'{kind}.txtpb').read_text()
            assert f'memory_bandwidth: {chip.bandwidth:.0f}\n' in text
            assert text.count('{') == text.count('}')


def test_rates_are_positive():
    for chip in targets.CHIPS.values():
        assert all(value > 0 for name, value in dataclasses.asdict(chip).items() if name not in ('platform', 'axes'))
