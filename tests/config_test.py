"""Settings: every wrong value is refused with the field's name and what is valid."""

import importlib
import pathlib

import pytest

from configs import sta_synthetic, strf_mars, strf_synthetic
from configs.recipes import variants
from jaxreid import config

FILES = sorted(p.stem for p in pathlib.Path(strf_mars.__file__).parent.glob('*_*.py') if p.stem != '__init__')


@pytest.mark.parametrize('file', FILES)
def test_every_variant_of_every_config_is_valid(file):
    module = importlib.import_module(f'configs.{file}')
    system, dataset = file.split('_')
    for variant in module.VARIANTS:
        made = config.validate(module.get_config(variant))
        assert made.system == (system if system in config.SYSTEMS else 'baseline')
        assert made.data.dataset == dataset


@pytest.mark.parametrize('file', FILES)
def test_the_docstring_of_a_config_holds_command_and_figure(file):
    text = importlib.import_module(f'configs.{file}').__doc__
    assert 'python -m jaxreid.main' in text
    if not file.endswith('_synthetic'):
        assert f'--config configs/{file}.py --config.data.root=' in text
        assert 'Ours: not run yet.' in text


@pytest.mark.parametrize('module', [strf_mars, strf_synthetic])
def test_an_unknown_variant_names_the_nearest(module):
    variant = next(iter(module.VARIANTS))
    with pytest.raises(config.ConfigError, match=f'Did you mean .{variant}'):
        module.get_config(variant[:-1])


def test_variants_joined_by_commas_are_applied_in_order():
    made = sta_synthetic.get_config('table1_avg,tiny')
    assert (made.sta.mode, made.data.preset, made.data.num_ids) == ('avg', 'tiny', 12)
    assert sta_synthetic.get_config('table2_n2,table2_n6').test.frames == 6


def test_a_variant_that_names_no_setting_is_refused():
    with pytest.raises(config.ConfigError, match=r"Did you mean 'optim\.lr'"):
        variants.experiment('x', {'optim.lrr': 1}, variants={'a': {}}, variant='a')


@pytest.mark.parametrize(
    ('spec', 'ids', 'protocol'),
    [
        ('strf_mars', 625, 'mars-paper'),
        ('stmn_dukev', 702, 'dukev'),
        ('ap3d_ilids', 150, 'ilids'),
        ('star_prid', 89, 'prid'),
        ('stmn_lsvid', 842, 'lsvid'),
    ],
)
def test_a_data_set_brings_its_published_identities_and_protocol(spec, ids, protocol):
    made = importlib.import_module(f'configs.{spec}').get_config()
    assert (made.data.num_ids, made.test.protocols) == (ids, (protocol,))


def test_the_grid_holds_a_fifth_of_the_identities_out():
    stmn = importlib.import_module('configs.stmn_mars')
    assert stmn.get_config('grid_alpha_0.5').data.num_ids == 500
    assert len([v for v in stmn.VARIANTS if v.startswith('grid_items_')]) == 9


def test_defaults_are_valid_and_round_trip_to_plain_values():
    experiment = config.validate(config.Experiment())
    assert config.to_dict(experiment)['backbone']['depths'] == [3, 4, 6, 3]
    assert config.flatten(experiment)['optim.lr'] == 3e-4


@pytest.mark.parametrize(
    ('section', 'field', 'value', 'message'),
    [
        ('optim', 'lr', '0.1', 'config.optim.lr = .0.1. has type str, expected float'),
        ('train', 'epochs', 2.5, 'has type float, expected int'),
        ('train', 'epochs', True, 'has type bool, expected int'),
        ('train', 'remat', 1, 'has type int, expected bool'),
        ('data', 'store', '5', "config.data.store = '5' is not known. Valid: folder"),
        ('sampler', 'kind', 'tracklet_epok', "Did you mean 'tracklet_epoch'"),
        ('backbone', 'depths', (1, 1.5, 1, 1), 'holds 1.5, which is not of type int'),
        ('backbone', 'depths', 3, 'is not a tuple'),
        ('backbone', 'depths', (1, 1), 'need four numbers'),
        ('backbone', 'stages', (0,), 'must name stages 1 to 4'),
        ('optim', 'lr', float('nan'), 'is not finite'),
        ('optim', 'lr', 0.0, 'is not above 0'),
        ('augment', 'flip', 1.5, 'not between 0 and 1'),
        ('augment', 'erase_area_min', 0.9, 'min <= max'),
        ('train', 'epochs', 0, 'below its minimum 1'),
        ('train', 'bn_groups', 3, '32 clips .* do not split over train.bn_groups = 3'),
        ('strf', 'branches', (), 'at least one entry'),
        ('strf', 'branches', ('t_tau', 't_tau'), 'each once'),
        ('strf', 'reduction', 7, 'does not divide the 128 channels of stage 2'),
        ('backbone', 'block', 'c2d', 'needs one of the blocks i3d'),
        ('backbone', 'width', 32, 'backbone.init=random'),
        ('nonlocal_blocks', 'stage2', (4,), 'outside 0 ... 3'),
        ('sampler', 'num_ids', 1, 'at least 2'),
    ],
)
def test_a_wrong_setting_is_refused_by_name(section, field, value, message):
    experiment = config.Experiment()
    setattr(getattr(experiment, section), field, value)
    with pytest.raises(config.ConfigError, match=message):
        config.validate(experiment)


def test_all_problems_are_listed_at_once():
    experiment = config.Experiment()
    experiment.optim.lr = 'fast'
    experiment.data = 'mars'
    with pytest.raises(config.ConfigError) as error:
        config.validate(experiment)
    assert len(str(error.value).splitlines()) == 2


def test_i3d_has_no_1x3x3_location():
    experiment = config.Experiment()
    experiment.backbone.block, experiment.strf.location = 'i3d', '1x3x3'
    with pytest.raises(config.ConfigError, match='I3D has no separate spatial convolution'):
        config.validate(experiment)


def test_an_unknown_field_names_the_nearest():
    assert "Did you mean 'optim.lr'?" in str(config.unknown_field('optim.lrr'))
    assert "Did you mean 'optim.lr'?" in str(config.unknown_field('optm.lr'))
