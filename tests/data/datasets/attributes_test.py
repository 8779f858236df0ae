import dataclasses

import numpy as np
import pytest

from jaxreid.data.datasets import attributes
from jaxreid.data.tracklets import tracklet


def dataset():
    one = tracklet.Tracklet('0001C1T0001', 1, 1, ('a.jpg',))
    other = dataclasses.replace(one, name='0002C1T0001', pid=2)
    marks = np.ones(1, bool)
    return tracklet.Dataset(root='', train=(one,), test=(other,), query=marks, gallery=marks)


def written(folder, text):
    (folder / 'attributes.csv').write_text(text, encoding='utf-8')
    return str(folder)


def test_without_a_table_nothing_is_known(tmp_path):
    given = dataset()
    assert attributes.attach(given, str(tmp_path)) is given


def test_rows_may_be_missing_and_cells_empty(tmp_path):
    found = attributes.attach(dataset(), written(tmp_path, 'tracklet,outfit,weather\n0002C1T0001, coat ,\n'))
    assert dict(found.train[0].attributes) == {}
    assert dict(found.test[0].attributes) == {'outfit': 'coat'}


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('name,outfit\n', r"columns \['name', 'outfit'\]; one of them must be tracklet"),
        ('tracklet,outfit\n0002C1T0001\n', 'line 2 has other cells'),
        ('tracklet,outfit\n0002C1T0001,coat,1\n', 'line 2 has other cells'),
        ('tracklet,outfit\n0002C1T0001,a\n0002C1T0001,b\n', "line 3 names tracklet '0002C1T0001' again"),
        ('tracklet,outfit\n0003C1T0001,a\n', "rows of 1 tracklets that the data set lacks, first '0003C1T0001'"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        attributes.attach(dataset(), written(tmp_path, text))
