"""What a similarity means: how often other people look as alike, from a calibration file of the evaluation report."""

import math
import pathlib
from typing import NamedTuple, TypedDict

import numpy as np

from jaxreid.process import json_file


class Calibration(NamedTuple):
    """Rates measured on pairs of a test set; they hold for the same network and footage like that."""

    where: str
    distance: str
    network: str  # fingerprint; '' unknown
    impostor_pairs: int  # pairs of different people that were counted
    threshold: np.ndarray  # [K] ascending similarities
    false_accept_rate: np.ndarray  # [K] share of pairs of different people that reach each
    true_accept_rate: np.ndarray  # [K] share of pairs of the same person that do


def read(path: str) -> Calibration:
    """Reads the *.calibration.json that `python -m jaxreid.evaluation.report` writes.

    Raises:
      ValueError: it is something else; names it.
      OSError: it cannot be read.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(
            f'there is no calibration file {path}; python -m jaxreid.evaluation.report writes one, '
            'report.calibration.json'
        )
    advice = 'python -m jaxreid.evaluation.report writes one, report.calibration.json'
    written = json_file.read(path, _Written, what='a calibration', advice=advice)
    verification = written['verification']
    if verification['curve'] is None:
        raise ValueError(f'{path}: its test set had no pairs of the same or of different people; {advice}')
    curve = verification['curve']
    threshold = np.array(curve['threshold'], np.float64)
    false, true = np.array(curve['false_accept_rate'], np.float64), np.array(curve['true_accept_rate'], np.float64)
    rates = np.concatenate([false, true])
    if (
        not (len(threshold) and np.isfinite(threshold).all() and (np.diff(threshold) > 0).all())
        or not (len(threshold) == len(false) == len(true) and ((rates >= 0) & (rates <= 1)).all())
        or verification['impostor_pairs'] < 1
    ):
        raise ValueError(f'{path}: its curve is none of rates by ascending thresholds; {advice}')
    network = written['network'] or ''
    return Calibration(path, written['distance'], network, verification['impostor_pairs'], threshold, false, true)


class _Curve(TypedDict):
    threshold: list[float]
    false_accept_rate: list[float]
    true_accept_rate: list[float]


class _Verification(TypedDict):
    curve: _Curve | None
    impostor_pairs: int


class _Written(TypedDict):
    """Of what the report writes, what a search needs."""

    distance: str
    network: str | None
    verification: _Verification


def check_belongs(measured: Calibration, made: dict) -> None:
    """Refuses a calibration of another network or distance than the features'. Raises ValueError: says which."""
    if made.get('distance', measured.distance) != measured.distance:
        raise ValueError(
            f'{measured.where} is for the {measured.distance} distance, the search uses {made["distance"]}'
        )
    if measured.network and made.get('network', measured.network) != measured.network:
        raise ValueError(
            f'{measured.where} is for the network {measured.network}, the features are from {made["network"]}; make '
            'the report of the network that extracted them'
        )


def false_accept_rate(measured: Calibration, similarity: float) -> float:
    """Share of pairs of different people that are at least about as similar; no less than was measured.

    A pair is accepted whose similarity reaches a threshold (`evaluation.calibration.thresholds`), so that a similarity
    equal to one has the rate given for it.
    """
    place = int(np.searchsorted(measured.threshold, similarity, side='right')) - 1
    return 1.0 if place < 0 else float(measured.false_accept_rate[place])


def true_accept_rate(measured: Calibration, similarity: float) -> float:
    """Share of pairs of the same person that are at least about as similar; no less than was measured."""
    place = int(np.searchsorted(measured.threshold, similarity, side='right')) - 1
    return 1.0 if place < 0 else float(measured.true_accept_rate[place])


def threshold(text: str, measured: Calibration | None) -> float:
    """The similarity that `--threshold` asks for: a number, or a false-accept rate such as 0.1%.

    Raises:
      ValueError: neither, a rate without a calibration, or one too small for the pairs that it counted.
    """
    try:
        value = float(text.removesuffix('%'))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f'--threshold {text!r} is neither a similarity such as 0.7 nor a rate such as 0.1%')
    if not text.endswith('%'):
        return value
    if measured is None:
        raise ValueError(f'--threshold {text} is a false-accept rate, which needs --calibration FILE')
    rate = value / 100
    if not 1 / measured.impostor_pairs <= rate <= 1:
        raise ValueError(
            f'--threshold {text} cannot be measured: {measured.where} counted {measured.impostor_pairs:,} pairs of '
            f'different people, enough for {_percent(1 / measured.impostor_pairs)} to 100%'
        )
    return at(measured, rate)


def at(measured: Calibration, rate: float) -> float:
    """The lowest similarity whose false-accept rate is at most `rate`, or of a single pair, whichever is larger."""
    return float(measured.threshold[np.argmax(measured.false_accept_rate <= max(rate, 1 / measured.impostor_pairs))])


def words(measured: Calibration, rate: float) -> str:
    """A rate for people."""
    return _percent(rate) if rate else f'< {_percent(1 / measured.impostor_pairs)}'


def _percent(share: float) -> str:
    return f'{100 * share:.2g}%' if share < 0.995 else '100%'
