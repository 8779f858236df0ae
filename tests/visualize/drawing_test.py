"""Charts are well-formed and say what they were given; sheets hold every picture; parameters stand beside the mAP."""

import json
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest

from jaxreid.reproduce import parameters
from jaxreid.reproduce.published import tables
from jaxreid.visualize import sheet, svg


def places(chart, tag):
    root = ElementTree.fromstring(svg.document(chart))
    return [node for node in root.iter() if node.tag.endswith(tag)]


def test_the_points_of_a_curve_lie_where_its_values_are():
    chart = svg.lines([svg.Line('a', [0, 5, 10], [0, 50, 100])], title='t', x_label='x', y_label='y', y_range=(0, 100))
    line = next(p for p in places(chart, 'path') if p.get('class') == 'line c0').get('d')
    (x0, y0), (x1, y1), (x2, y2) = [map(float, pair.split()) for pair in line[1:].split('L')]
    assert x1 == pytest.approx((x0 + x2) / 2)
    assert y1 == pytest.approx((y0 + y2) / 2)
    assert y2 < y0


def test_bars_are_as_high_as_their_values():
    heights = [3, 0, 6]
    chart = svg.bars(heights, edges=[0, 1, 2, 3], title='t', x_label='x', y_label='y', tips=['a', 'b', '<c>'])
    drawn = [float(r.get('height')) for r in places(chart, 'rect') if r.get('class')]
    assert drawn[0] == pytest.approx(drawn[2] / 2, abs=0.1)
    assert drawn[1] == 0


def test_labels_are_escaped():
    chart = svg.lines(
        [svg.Line('</svg><b>', [0, 1], [0, 1]), svg.Line('b', [0, 1], [1, 0])], title='"&', x_label='<', y_label='>'
    )
    assert any(node.text == '</svg><b>' for node in places(chart, 'text'))


@pytest.mark.parametrize(('low', 'high'), [(0, 1), (0, 491), (-0.31, 0.87), (50, 100), (0, 0)])
def test_ticks_are_round_and_inside(low, high):
    found = svg.ticks(low, high)
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)
    assert 1 <= len(found) <= 8


def test_labels_of_points_do_not_cover_each_other():
    curves = [svg.Line(f'network {i}', [25.0 + i / 100], [83 + i / 10]) for i in range(6)]
    curves.append(svg.Line('far', [99.0], [72.0]))
    chart = svg.lines(curves, title='t', x_label='x', y_label='y', y_range=(70, 90), points=True)
    heights = sorted(float(t.get('y')) for t in places(chart, 'text') if (t.text or '').startswith('network'))
    assert min(np.diff(heights)) >= 12


def test_a_sheet_holds_every_picture_with_its_mark():
    red, blue = (np.full((32, 16, 3), c, np.uint8) for c in ((255, 0, 0), (0, 0, 255)))
    rows = [('one', [sheet.Picture(red, 'a\u00a0b', 'right')]), ('two', [sheet.Picture(blue), sheet.Picture(red)])]
    made = sheet.sheet(rows, title='title', height=64)
    for colour, times in (((255, 0, 0), 2), ((0, 0, 255), 1), (sheet.MARK_COLOURS['right'], 0)):
        area = (made == np.array(colour, np.uint8)).all(-1).sum()
        assert area >= max(times * 64 * 32 * 0.95, 1)


def test_large_pictures_shrink_and_small_ones_stay():
    assert sheet.fitted(np.zeros((256, 128, 3), np.uint8), height=128).shape == (128, 64, 3)
    assert sheet.fitted(np.zeros((64, 32, 3), np.uint8), height=128).shape == (64, 32, 3)


def test_pictures_survive_jpeg_and_png():

    image = np.full((16, 8, 3), (200, 40, 90), np.uint8)
    for data, close in ((sheet.png(image), 0), (sheet.jpeg(image), 6)):
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(read.astype(int) - image).max() <= close


def test_the_paper_s_and_our_map_stand_beside_the_parameters():
    table = tables.find('strf-table2')
    counts = {row.variant: 1_000_000 * (i + 1) for i, row in enumerate(table.rows)}
    results = {'rows': [{'variant': 'table2_p3dc', 'ours': {'mAP': {'mean': 61.25}}}]}
    found = parameters.points(table, 'mars', parameters=counts, results=results)
    assert [p['millions'] for p in found] == list(range(1, 10))
    last = found[-1]
    assert (last['variant'], last['paper'], last['ours']) == ('table2_p3dc', 86.1, 61.25)
    assert found[0]['paper'] is None
    chart = parameters.chart(found, {'M3D': (99.9, 74.1)})
    assert 'STRF-P3D-C (ours)' in chart
    assert 'M3D' in chart


def test_parameters_are_counted_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parameters, 'count', lambda experiment: 1_000_000 * len(experiment.strf.stages))
    assert parameters.run(['--out=figure6b.svg']) == 0, capsys.readouterr().err
    assert {p['millions'] for p in json.loads((tmp_path / 'figure6b.json').read_text())} == {0, 2}


def test_a_report_of_another_table_is_refused(tmp_path, capsys):
    (tmp_path / 'r.json').write_text(json.dumps({'table': 'sta-table1', 'dataset': 'mars'}))
    assert parameters.run([str(tmp_path / 'r.json'), f'--out={tmp_path / "x.svg"}']) == 1
    assert 'sta-table1 on mars, not strf-table2' in capsys.readouterr().err
