"""Curves of a training lie where its numbers are, and only those are drawn that there are."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxreid.visualize import svg, training_curves


def nodes(chart, tag):
    return [node for node in ElementTree.fromstring(svg.document(chart)).iter() if node.tag.endswith(tag)]


def heights(chart, colour):
    line = next(p for p in nodes(chart, 'path') if p.get('class') == f'line {colour}' and 'L' in p.get('d'))
    return [float(pair.split()[1]) for pair in line.get('d')[1:].split('L')]


def rows(steps=range(10, 60, 10)):
    return [
        {
            'step': s,
            'loss': 3.0 - s / 50,
            'cross_entropy': 2.0,
            'triplet': 0.0,
            'accuracy': s / 50,
            'learning_rate': 3e-4,
        }
        for s in steps
    ]


def test_every_kind_of_number_has_its_chart():
    made = training_curves.charts([*rows(), {'step': 50, 'test/mAP': 40.0, 'test/rank1': 60.0}])
    assert list(made) == ['loss', 'accuracy', 'learning_rate', 'monitored_on_the_test_set']
    texts = [node.text for node in nodes(made['loss'], 'text')]
    assert {'loss', 'cross entropy', 'step'} <= set(texts)
    assert 'triplet' not in texts  # switched off: it is 0 throughout
    assert 'learning rate, 1e-4' in [node.text for node in nodes(made['learning_rate'], 'text')]
    assert 'mAP 40, rank-1 60' in made['monitored_on_the_test_set']
    assert len(nodes(made['monitored_on_the_test_set'], 'circle')) == 2  # one evaluation: nothing to join


def test_curves_lie_where_the_numbers_are():
    drawn = heights(training_curves.charts(rows())['accuracy'], 'c0')  # 20, 40 ... 100 %, from the bottom to the top
    assert np.diff(drawn) == pytest.approx([drawn[-1] - drawn[-2]] * 4, abs=0.15)
    top, bottom = 14, 260 - 44
    assert drawn[-1] == pytest.approx(top)
    assert drawn[0] == pytest.approx(bottom - 0.2 * (bottom - top), abs=0.1)


def test_many_steps_are_averaged_in_groups():
    many = [{'step': s, 'loss': float(s % 2)} for s in range(1, 4 * training_curves.POINTS + 1)]
    drawn = heights(training_curves.charts(many)['loss'], 'c0')
    assert len(drawn) == training_curves.POINTS
    assert set(drawn) == {14.0}  # all groups of four have the mean 0.5, the highest value


def test_a_run_without_evaluations_or_numbers_has_no_such_chart():
    assert list(training_curves.charts(rows())) == ['loss', 'accuracy', 'learning_rate']
    assert training_curves.charts([]) == {}
    odd = [{'step': 1, 'loss': float('nan'), 'accuracy': 'none', 'learning_rate': None}]
    assert training_curves.charts(odd) == {}


def test_a_file_of_charts_stacks_them_and_is_light_or_dark():
    made = svg.document(*training_curves.charts(rows()).values())
    root = ElementTree.fromstring(made)
    assert root.get('viewBox') == '0 0 480 780'
    assert [node.get('y') for node in root if node.tag.endswith('svg')] == ['0', '260', '520']
    assert '@media(prefers-color-scheme:dark)' in made
