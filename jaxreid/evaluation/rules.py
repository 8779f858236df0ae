"""The rules that one feature file is scored under side by side: published protocols, and what differs in one point."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid import config
from jaxreid.evaluation import feature_file, protocols, refinement


@dataclasses.dataclass(frozen=True)
class Rule:
    """A row of the table."""

    protocol: protocols.Protocol
    distance: str
    per_frame_cameras: bool = False  # a published mistake, see `misaligned`


def every(files: Sequence[feature_file.Features], distance: str) -> list[Rule]:
    """The named protocols, then rules that differ from one of them in one point, as far as `files` allow."""

    def vary(name: str, **changes: Any) -> Rule:
        return Rule(changed(protocols.named(name), **changes), distance)

    other = 'euclidean' if distance == 'cosine' else 'cosine'
    by_other = dataclasses.replace(protocols.named('mars-paper'), name=f'mars-paper with distance={other}')
    named = [protocols.named(name) for name in config.PROTOCOLS]
    known = set.intersection(*(set(file.attributes) for file in files))
    longest = int(files[0].gallery.sum())
    rules = [
        *(Rule(rule, distance) for rule in named if needs(rule) <= known),
        vary('mars-paper', ap='sklearn_pr'),
        vary('torchreid', unanswerable='zero'),
        vary('mars-paper', distractors='drop'),
        vary('torchreid', distractors='drop'),
        vary('mars-paper', junk='negatives'),
        vary('mars-paper', same_camera='keep'),
        vary('torchreid', same_camera='keep'),
        vary('mars-paper', same_camera='drop'),
        vary('mars-paper', cmc='single_shot'),
        *(vary('mars-paper', rank_cut=cut) for cut in (50, 1000) if cut < longest),
        Rule(by_other, other),
    ]
    if all(file.frames.min() > 0 and not (file.query & ~file.gallery).any() for file in files):
        name = 'torchreid, cameras listed per frame (a published mistake)'
        rules.append(Rule(dataclasses.replace(protocols.named('torchreid'), name=name), distance, True))
    return rules


def needs(protocol: protocols.Protocol) -> set[str]:
    """The attributes that a rule reads."""
    outfits = {feature_file.OUTFIT} if protocol.outfits != 'any' else set()
    return outfits | ({feature_file.FRAME} if protocol.gap_frames is not None else set())


def changed(protocol: protocols.Protocol, **changes: Any) -> protocols.Protocol:
    """A protocol with some rules changed, which its name then says."""
    listed = ', '.join(f'{k}={v}' for k, v in changes.items() if getattr(protocol, k) != v)
    return dataclasses.replace(protocol, **changes, name=protocol.name + (f' with {listed}' if listed else ''))


def rank(features: feature_file.Features, rule: Rule, distances: refinement.Distances) -> protocols.Results:
    """Every query of one file under one rule."""
    if rule.per_frame_cameras:
        features = misaligned(features)
    return protocols.rank_blocks(distances.blocks(rule.protocol), features, rule.protocol)


def misaligned(features: feature_file.Features) -> feature_file.Features:
    """Cameras as two published test loops pair them with tracklets: listed once per frame, read once per tracklet.

    AishahAADU/VID-Trans-ReID and JinSeong0115/KeyRe-ID, read as code; their numbers are not comparable with others.
    """
    camera = features.camera.copy()
    rest = features.gallery & ~features.query & (features.pid != protocols.JUNK_ID)
    for rows in (features.query, rest):
        owner = np.searchsorted(np.cumsum(features.frames[rows]), np.arange(rows.sum()), side='right')
        camera[rows] = features.camera[rows][owner]
    return dataclasses.replace(features, camera=camera)
