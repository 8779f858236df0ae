"""What is derived of the facts of a data set: its splits, what may name them, and settings that were saved before."""

import dataclasses

import pytest

from jaxreid import config
from jaxreid.data.datasets import catalogue


def test_splits_are_those_that_the_data_set_has():
    assert catalogue.find('mars').splits('demo') == [{}]
    assert catalogue.find('synthetic').splits('tiny') == [{'preset': 'tiny'}]
    assert catalogue.find('lsvid').splits('demo') == [{'part': 'official'}, {'part': 'validation'}]
    expected = [{'split': str(i), 'split_rule': rule} for rule in ('178', '200') for i in range(10)]
    assert catalogue.find('prid').splits('demo') == expected


def test_record_sets_note_a_split_under_the_names_that_it_always_had():
    prid = catalogue.find('prid')
    assert prid.split_settings(config.Data(split='4')) == {'split': '4', 'prid_persons': 178}
    assert prid.split_settings(config.Data(split='4', split_rule='200')) == {'split': '4', 'prid_persons': 200}
    ilids = catalogue.find('ilids').split_settings(config.Data(split_rule='second', preset='tiny'))
    assert ilids == {'split': '0', 'ilids_test_half': 'second'}
    assert catalogue.find('lsvid').split_settings(config.Data(part='validation')) == {'part': 'validation'}


def test_after_a_colon_stand_splits_or_presets():
    assert catalogue.find('ilids').after_colon() == tuple('0123456789')
    assert catalogue.find('synthetic').after_colon()[:2] == ('tiny', 'demo')
    assert catalogue.find('mars').after_colon() == ()


@pytest.mark.parametrize(
    ('dataset', 'saved', 'rule'),
    [
        ('prid', {'prid_persons': 200, 'ilids_test_half': 'first'}, '200'),
        ('prid', {'prid_persons': 178, 'ilids_test_half': 'second'}, ''),
        ('ilids', {'prid_persons': 200, 'ilids_test_half': 'second'}, 'second'),
        ('mars', {'prid_persons': 200, 'ilids_test_half': 'second'}, ''),
    ],
)
def test_saved_settings_of_a_data_set_s_own_name_are_read(dataset, saved, rule):
    values = config.to_dict(config.Experiment())
    del values['data']['split_rule']
    values['data'] |= saved | {'dataset': dataset}
    assert config.from_dict(values).data == dataclasses.replace(config.Data(), dataset=dataset, split_rule=rule)
    assert 'prid_persons' in values['data']  # the caller's are left as they are


@pytest.mark.parametrize(('dataset', 'rule'), [('prid', '178'), ('prid', '200'), ('ilids', 'second'), ('mars', '')])
def test_a_way_to_split_is_one_of_the_data_set_s(dataset, rule):
    config.validate(config.Experiment(data=config.Data(dataset=dataset, split_rule=rule)))
    with pytest.raises(config.ConfigError, match=rf"split_rule = 'third' is no way in which {dataset} is split. Valid"):
        config.validate(config.Experiment(data=config.Data(dataset=dataset, split_rule='third')))


def test_an_unknown_data_set_is_refused_with_those_that_there_are():
    listed = 'ccvid, mevid, vccr, agvpreid, detreidx, g2a, dukev, ilids'
    with pytest.raises(ValueError, match=f"unknown data set 'market'; expected one of {listed}"):
        catalogue.find('market')
