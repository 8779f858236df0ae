"""Settings: every wrong value is refused with the field's name and what is valid."""

import pytest

from configs import strf_mars, strf_synthetic
from jaxreid import config


@pytest.mark.parametrize('module', [strf_mars, strf_synthetic])
def test_every_variant_of_every_config_is_valid(module):
    for variant in module.VARIANTS:
        config.validate(module.get_config(variant))


@pytest.mark.parametrize('module', [strf_mars, strf_synthetic])
def test_an_unknown_variant_names_the_nearest(module):
    variant = next(iter(module.VARIANTS))
    with pytest.raises(config.ConfigError, match=f'Did you mean .{variant}'):
        module.get_config(variant[:-1])


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
        ('backbone', 'block', 'c2d', 'needs a 3-D block'),
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
