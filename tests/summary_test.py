"""`--mode summary` prints the exact sizes of the papers' networks for 625 ids, without a data set."""

import json

import pytest

from jaxreid import main
from tests.fixtures import commands

pytestmark = pytest.mark.slow

# STRF's counts follow from its equations and fit its Table 2 (docs/strf.md).
COUNTS = {
    'c2d': 24_792_753,
    'table2_i3d_plain': 28_921_521,
    'table2_i3d': 28_978_865,
    'table2_p3da_plain': 25_480_881,
    'table2_p3db_plain': 25_480_881,
    'table2_p3dc_plain': 25_480_881,
    'table2_p3da': 25_538_225,
    'table2_p3db': 25_538_225,
    'table2_p3dc': 25_538_225,
    'table5_stages_1': 25_507_505,
    'table5_stages_12': 25_515_697,
    'table5_stages_123': 25_564_849,
    'table5_stages_234': 27_242_161,
    'table5_stages_1234': 27_268_785,
    'table5_stages_2': 25_489_073,
    'table5_stages_3': 25_530_033,
    'table5_stages_34': 27_233_969,
    'nonlocal': 32_839_345,
}
OTHER_SYSTEMS = {
    ('stmn', 'table1_baseline'): 24_790_080,
    ('stmn', 'table1_sm_no_spread'): 39_799_872,
    ('stmn', 'table1_sm'): 39_799_872,
    ('stmn', 'table1_tm_no_spread'): 74_617_950,
    ('stmn', 'table1_tm'): 74_617_950,
    ('stmn', 'table1_both_no_spread'): 89_627_742,
    ('stmn', 'table1_full'): 89_627_742,
    ('stmn', 'mlp'): 89_627_742,
    ('sta', 'table1_sta'): 26_246_208,
    ('sta', 'table1_full'): 28_343_360,
    ('sta', 'table1_sta,dim2048'): 28_984_384,
    ('sta', 'dim2048'): 33_178_688,
    ('star', 'table1_two_stream'): 24_794_432,
    ('star', 'table3_lsta'): 25_495_076,
    ('star', 'table3_lsta_gsta'): 47_270_565,
    ('star', 'table3_full'): 47_270_565,  # the regulariser has no parameters
    ('ap3d', 'ap3d'): 25_523_953,
    ('tfclip', 'table2_full'): 106_664_192,
    ('ap3d', 'ap3d_nl'): 32_882_417,
    ('sinet', 'sinet'): 31_713_383,
    ('sinet', 'sbnet'): 30_593_511,
    ('sinet', 'idnet'): 25_912_625,
    ('sinet', 'c2d'): 24_792_753,
}


def summary(tmp_path, variant, *arguments, system='strf'):
    """summary.json of a variant of a system on MARS."""
    spec = f'--config={commands.ROOT / "configs" / f"{system}_mars.py"}:{variant}'
    assert main.run(['main', spec, '--mode=summary', f'--workdir={tmp_path}', *arguments]) == 0
    return json.loads((tmp_path / 'summary.json').read_text())


@pytest.mark.parametrize(('variant', 'count'), COUNTS.items())
def test_a_variant_has_exactly_the_parameters_of_its_row(tmp_path, variant, count, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    found = summary(tmp_path, variant)
    assert found['trainable_parameters'] == count
    assert sum(found['parameters_by_part'].values()) == count


@pytest.mark.parametrize(('system', 'variant'), OTHER_SYSTEMS)
def test_the_other_systems_have_exactly_the_parameters_of_the_specification(tmp_path, system, variant, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    assert summary(tmp_path, variant, system=system)['trainable_parameters'] == OTHER_SYSTEMS[system, variant]


def test_the_number_of_ids_is_a_setting_and_c2d_costs_the_known_macs(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    assert summary(tmp_path, 'table2_i3d', '--config.data.num_ids=702')['trainable_parameters'] == 29_136_638
    assert summary(tmp_path, 'c2d')['gmacs_per_frame'] == pytest.approx(4.0533, abs=5e-5)
