"""What a similarity means, against counts of single pairs."""

import json
import pathlib

import numpy as np
import pytest

from jaxreid.evaluation import calibration
from jaxreid.process import digest
from jaxreid.search import calibration_file


@pytest.fixture(scope='module')
def measured(tmp_path_factory):
    """(file, similarities of pairs of different people)."""
    rng = np.random.default_rng(0)
    distances = -rng.uniform(-0.5, 0.9, (40, 60)).astype(np.float32)
    ids = rng.integers(1, 9, 60)
    of = distances, ids[:40], np.ones(40, int), ids, np.full(60, 2)
    found = calibration.collect(*of, low=-1.001, high=1.001)
    about = {'distance': 'cosine', 'network': 'ab12'} | calibration.calibrate(found)
    path = tmp_path_factory.mktemp('calibration') / 'report.calibration.json'
    path.write_text(json.dumps(about))
    return str(path), -distances[ids[:40, None] != ids[None]]


def test_the_rate_of_a_similarity_is_the_share_of_other_people_as_similar(measured):
    found = calibration_file.read(measured[0])
    assert found.impostor_pairs == len(measured[1])
    for similarity in np.linspace(-0.6, 1, 33):
        share = np.mean(measured[1] >= similarity)
        rate = calibration_file.false_accept_rate(found, similarity)
        assert share - 1e-9 <= rate <= share + 0.1 * max(share, 0.01)  # never less than was measured
    assert calibration_file.false_accept_rate(found, -0.9) == 1
    assert calibration_file.false_accept_rate(found, 0.99) == 0


def test_a_calibration_that_is_not_what_was_written_is_named(measured, tmp_path):
    written = json.loads(pathlib.Path(measured[0]).read_text())
    signed = json.dumps(digest.signed(written))
    place = tmp_path / 'report.calibration.json'
    place.write_text(signed)
    assert calibration_file.read(str(place)).impostor_pairs == len(measured[1])
    place.write_text(signed.replace('"impostor_pairs": 2', '"impostor_pairs": 3'))
    with pytest.raises(ValueError, match=rf'{place} does not hold a calibration: its contents are not those'):
        calibration_file.read(str(place))


def test_a_similarity_equal_to_a_threshold_reaches_it():
    # Seven pairs of other people, at -0.3 0.1 0.2 0.2 0.5 0.5 0.8: the rate of a threshold counts those equal to it.
    thresholds, rates = np.array([0.1, 0.2, 0.5, 0.8, 0.9]), np.array([6, 5, 3, 1, 0]) / 7
    by_hand = calibration_file.Calibration('by hand', 'cosine', '', 7, thresholds, rates, rates)
    for threshold, rate, lower in zip(thresholds, rates, [1, *rates]):
        assert calibration_file.false_accept_rate(by_hand, threshold) == rate
        assert calibration_file.false_accept_rate(by_hand, np.nextafter(threshold, -1)) == lower
        assert calibration_file.false_accept_rate(by_hand, np.nextafter(threshold, 1)) == rate


def test_the_smallest_rate_that_can_be_measured_is_one_pair_of_all():
    by_hand = calibration_file.Calibration(
        'by hand', 'cosine', '', 4, np.array([0.1, 0.5, 0.9]), *[np.array([1, 0.25, 0])] * 2
    )
    assert calibration_file.threshold('25%', by_hand) == 0.5
    with pytest.raises(ValueError, match='counted 4 pairs of different people, enough for 25% to 100%'):
        calibration_file.threshold('24%', by_hand)


def test_a_threshold_is_a_similarity_or_a_rate(measured):
    found = calibration_file.read(measured[0])
    assert calibration_file.threshold('-0.25', None) == -0.25
    for text, rate in (('5%', 0.05), ('0.5%', 0.005), ('100%', 1)):
        at = calibration_file.threshold(text, found)
        assert np.mean(measured[1] >= at) <= rate
        assert np.mean(measured[1] >= at - 0.05) > rate or rate == 1


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('0.01%', r'cannot be measured: .* pairs of different people, enough for 0\.0'),
        ('120%', 'cannot be measured'),
        ('often', 'neither a similarity such as'),
        ('nan', 'neither a similarity such as'),
    ],
)
def test_what_is_no_threshold_is_said(measured, text, message):
    with pytest.raises(ValueError, match=message):
        calibration_file.threshold(text, calibration_file.read(measured[0]))
    with pytest.raises(ValueError, match=r'needs --calibration FILE|neither'):
        calibration_file.threshold(text, None)


def test_a_calibration_of_something_else_is_refused(measured, tmp_path):
    found = calibration_file.read(measured[0])
    calibration_file.check_belongs(found, {'network': 'ab12', 'distance': 'cosine'})
    calibration_file.check_belongs(found, {})
    with pytest.raises(ValueError, match='for the cosine distance, the search uses euclidean'):
        calibration_file.check_belongs(found, {'distance': 'euclidean'})
    with pytest.raises(ValueError, match='for the network ab12, the features are from cd34'):
        calibration_file.check_belongs(found, {'network': 'cd34'})
    for text in ('{}', '[1]', 'no', json.dumps({'verification': {'curve': None}})):
        (tmp_path / 'x.json').write_text(text)
        with pytest.raises(ValueError, match=r'x\.json does not hold a calibration: '):
            calibration_file.read(str(tmp_path / 'x.json'))
