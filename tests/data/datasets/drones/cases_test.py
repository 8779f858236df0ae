"""AG-VPReID and DetReIDX: a direction at a time, cameras from the names."""

import pytest

from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import catalogue
from jaxreid.data.datasets.drones import agvpreid, cases, detreidx
from tests.fixtures import field_folders


def read(dataset, root, case=''):
    return source.read(config.Data(dataset=dataset, root=str(root), split_rule=case))


def rows(dataset, marks):
    return [(t.pid, t.camera) for t, marked in zip(dataset.test, marks, strict=True) if marked]


@pytest.mark.parametrize('prefix', ['', 'AG-VPReID/'])
def test_the_directions_of_ag_vpreid_have_their_own_queries_and_galleries(tmp_path, prefix):
    root = field_folders.agvpreid(tmp_path, prefix=prefix)
    first = read('agvpreid', root)
    assert [(t.pid, t.camera) for t in first.train] == [(1, 0), (1, 4), (2, 5)]
    assert rows(first, first.query) == [(9, 4)]
    assert rows(first, first.gallery) == [(8, 3), (9, 0)]
    other = read('agvpreid', root, 'case2_ground_to_aerial')
    assert rows(other, other.query) == [(9, 0)]
    assert rows(other, other.gallery) == [(9, 4)]
    assert first.train == other.train
    frames = [path.rpartition('/')[2] for path in first.train[0].frames]
    assert frames == [f'P1T230811A1C0E1K1F{n:03d}.jpg' for n in (9, 10, 11)]


def test_the_directions_of_detreidx_are_three_and_flights_are_cameras(tmp_path):
    root = field_folders.detreidx(tmp_path)
    expected = {'case1_aerial_to_ground': (1, 0), 'case2_ground_to_aerial': (0, 2), 'case3_aerial_to_aerial': (1, 2)}
    for case, (asked, listed) in expected.items():
        dataset = read('detreidx', root, case)
        assert (rows(dataset, dataset.query), rows(dataset, dataset.gallery)) == ([(371, asked)], [(371, listed)])
        assert [path.rpartition('_')[2] for path in dataset.test[0].frames] == ['9.jpg', '10.jpg', '11.jpg']
        assert source.describe(config.Data(dataset='detreidx', split_rule=case)) == f'detreidx {case}'
    assert catalogue.find('detreidx').splits('') == [{'split_rule': case} for case in expected]


def test_names_say_the_camera():
    assert agvpreid.camera('P0123T230811A1C5E1K1F001.jpg') == 5
    assert agvpreid.camera('0123C5F001.jpg') is None
    assert detreidx.camera('0001_a_b_c_d_e_30.0_20.0_60_1_17.jpg') == 1
    assert detreidx.camera('0001_a_b_c_d_e_5.8_10.0_30_2_17.jpg') == 2
    assert detreidx.camera('0001_s1_17.jpg') == 0
    assert detreidx.camera('0001_a_b_c_d_e_30.0_20.0_60_x_17.jpg') is None


def test_all_cases_are_counted_together(tmp_path):
    held = catalogue.find('detreidx').count(config.Data(dataset='detreidx', root=str(field_folders.detreidx(tmp_path))))
    assert held.counts['ids'] == 3
    assert held.counts['cameras'] == 3
    assert held.counts['train tracklets'] == 3
    assert held.counts['case3_aerial_to_aerial query tracklets'] == 1
    assert set(held.parts) == {'train', *cases.CASES}
    for name in ('agvpreid', 'detreidx'):
        assert catalogue.find(name).published.keys() <= held.counts.keys()


def test_a_case_that_is_not_there_and_a_tracklet_of_two_cameras_are_named(tmp_path):
    root = field_folders.agvpreid(tmp_path)
    with pytest.raises(config.ConfigError, match='no way in which agvpreid is split'):
        config.validate(config.Experiment(data=config.Data(dataset='agvpreid', split_rule='case3_aerial_to_aerial')))
    frame = root / 'train/1/t1/P1T230811A1C0E1K1F009.jpg'
    frame.rename(frame.with_name('P1T230811A1C3E1K1F009.jpg'))
    with pytest.raises(ValueError, match='do not say one camera'):
        read('agvpreid', root)
    (root / 'case1_aerial_to_ground').rename(root / 'case1')
    with pytest.raises(FileNotFoundError, match='no folder case1_aerial_to_ground/query'):
        read('agvpreid', root)
