"""The figures of a report that need the network: attention, and the memories of STMN."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from jaxreid.data.stores import frame_store
from jaxreid.evaluation import feature_file, protocols
from jaxreid.evaluation import network as network_lib
from jaxreid.evaluation.ordering import ranking
from jaxreid.evaluation.report import network_maps, ranked_lists
from jaxreid.visualize import memory_maps, panels, sheet

KEY_FRAMES, KEY_SEQUENCES, CHANGED, LIST = 7, 3, 6, 5  # frames and sequences per key, queries, length of their lists


@dataclasses.dataclass(frozen=True)
class Footage:
    """Where the frames of the tracklets of a feature file are."""

    store: frame_store.Store
    store_row: np.ndarray  # [N] int, row in the store
    length: np.ndarray  # [N] int, frames
    name: np.ndarray  # [N] str


def figures(
    networks: Sequence[tuple[str, network_lib.Network]],
    footage: Footage,
    features: feature_file.Features,
    protocol: protocols.Protocol,
    *,
    distance: str,
    chosen: Sequence[int],
) -> list[panels.Panel]:
    """Every figure that the first network's outputs allow.

    Args:
      networks: (label, network); those after the first appear beside it where the papers compare.
      footage: frames.
      features: those whose identities and roles retrieval uses.
      protocol, distance: of retrieval.
      chosen: rows of the tracklets shown.
    """
    label, network = networks[0]
    clips = {name: _clips(n, footage, chosen, label=f'maps, {name}') for name, n in networks}
    made: list[panels.Panel | None] = [panels.attention(clips[label], text=_attention_text(network))]
    if network.experiment.system == 'stmn':
        made += _memories(networks, clips, footage, features, protocol, distance, chosen)
    elif any('frame_weights' in clip.extras for clip in clips[label]):
        made.append(_two_orders(networks, clips, footage, chosen))
    return [panel for panel in made if panel is not None]


def _attention_text(network):
    match network.experiment.system:
        case 'baseline':
            return (
                'Mean over the channels of the squared output of stage 3, from dark (least of the frame) to bright '
                '(most of the frame); as Figure 5 and supplement E of STRF.'
            )
        case 'sta':
            return (
                'How strongly each position fires within its frame (STA, eq. 1), and the share of each stripe in what '
                'the stripe gets over the clip (eq. 4), by which the frames are fused.'
            )
        case 'tfclip':
            return (
                'Mean over the channels of the squared tokens that leave the tower, by patch, from dark (least of '
                'the frame) to bright (most of the frame); the tower itself attends from every patch to all others.'
            )
        case _:
            return 'Weight of each position in the last stage, from dark (least of the frame) to bright (most).'


def _clips(network, footage, rows, *, label, order=None, frames=None):
    """The clips of tracklets, each with what the network gives for it; `order` rearranges their frames."""
    positions = [network_maps.clip(int(footage.length[r]), network.experiment) for r in rows]
    if order is not None:
        positions = [p[order] for p in positions]
    stored = [int(footage.store_row[r]) for r in rows]
    outputs = network_maps.run(network, footage.store, stored, positions, network_maps.MAPS, label=label)
    clips = []
    for i, row in enumerate(rows):
        keep = slice(None) if frames is None else slice(frames[i], frames[i] + 1)
        extras = {k: v[i] for k, v in outputs.items()}
        extras |= {k: v[keep] for k, v in extras.items() if k != 'temporal_match'}
        if network.experiment.stmn.query_layout == 'flat':
            extras.pop('spatial_match', None)  # its places are rows of channels, not positions
        images = footage.store.read(stored[i], positions[i][keep])
        clips.append(panels.Clip(str(footage.name[row]), images, positions[i][keep], extras))
    return clips


def _memories(networks, clips, footage, features, protocol, distance, chosen):
    label, network = networks[0]
    side_by_side = [(name, clips[name][i]) for i in range(len(chosen)) for name, _ in networks]
    made = [panels.match_maps(side_by_side), panels.refinement(clips[label])]

    rows = np.arange(len(features.pid))
    positions = [network_maps.clip(int(f), network.experiment) for f in footage.length]
    stored = [int(r) for r in footage.store_row]
    seen = network_maps.run(network, footage.store, stored, positions, network_maps.survey, label='all tracklets')
    if 'strongest' in seen:
        made.append(_key_frames(network, footage, seen['strongest'], rows))
        made.append(_with_and_without(footage, seen, features, protocol, distance))
    if 'temporal_match' in seen:
        of_keys = memory_maps.sequences_of_keys(seen['temporal_match'], count=KEY_SEQUENCES)
        shown = [_frames(footage, network, of_key) for of_key in of_keys.tracklet]
        values = np.asarray(jax.device_get(network.variables['params']['temporal_memory']['values']), np.float64)
        made.append(panels.key_sequences(of_keys, values, shown))
    made.append(_two_orders(networks, clips, footage, chosen))
    return made


def _key_frames(network, footage, strongest, rows):
    of_keys = memory_maps.frames_of_keys(strongest, count=KEY_FRAMES)
    shown = []
    flat = of_keys.tracklet.ravel()
    clips = _clips(network, footage, rows[flat], label='frames of the keys', frames=of_keys.frame.ravel())
    for m in range(len(of_keys.tracklet)):
        shown.append(clips[m * of_keys.tracklet.shape[1] : (m + 1) * of_keys.tracklet.shape[1]])
    return panels.key_frames(of_keys, shown)


def _frames(footage, network, rows):
    """Clips alone."""
    clips = []
    for row in rows:
        positions = network_maps.clip(int(footage.length[row]), network.experiment)
        images = footage.store.read(int(footage.store_row[row]), positions)
        clips.append(panels.Clip(str(footage.name[row]), images, positions, {}))
    return clips


def _two_orders(networks, clips, footage, chosen):
    """The frame weights of every network for each tracklet as filmed and in another order."""
    rows = []
    orders = {}
    for name, network in networks:
        order = memory_maps.reordering(network.experiment.sampler.frames)
        orders[name] = _clips(network, footage, chosen, label=f'reordered, {name}', order=order)
    for i in range(len(chosen)):
        for name, _ in networks:
            rows += [(f'{name}, as filmed', clips[name][i]), (f'{name}, reordered', orders[name][i])]
    return panels.temporal(rows)


def _with_and_without(footage, seen, features, protocol, distance):
    """Figure 8: both features ranked, and the first places of the queries whose AP changes most."""
    ranked, scores = [], []
    for name in ('unrefined', 'refined'):
        one = dataclasses.replace(features, embedding=seen[name])
        ranked.append(protocols.rank_queries(one, protocol, distance=distance))
        row = protocols.summarize(ranked[-1], one, protocol, distance=distance)
        scores.append({'mAP': row['mAP'], 'rank1': row['cmc']['1']})
    queries = np.flatnonzero(features.query)
    rows = []
    for entry in memory_maps.changed_most(ranked[0].ap, ranked[1].ap, count=CHANGED):
        row = queries[entry['query']]
        for feature, label, ap in (('unrefined', 'f^o', entry['before']), ('refined', 'f^s', entry['after'])):
            shown = [sheet.Picture(middle(footage, row), 'query', 'query')]
            for item, mark in _first_places(seen[feature], row, features, protocol, distance):
                name = ranked_lists.MARKS[mark]
                shown.append(sheet.Picture(middle(footage, item), f'{name} {features.pid[item]}', name))
            heading = f'{features.name[row]} · {label} · AP {100 * ap:.1f}'
            rows.append(panels.PictureRow(heading, shown, follows=feature == 'refined'))
    return panels.retrieval_change(rows, before=scores[0], after=scores[1])


def _first_places(embedding, row, features, protocol, distance):
    gallery = protocols.ranked_gallery(features, protocol)
    columns = np.flatnonzero(gallery)
    one = slice(row, row + 1)
    ((_, distances),) = ranking.distance_blocks(embedding[one], embedding[columns], distance=distance)
    lists = ranked_lists.nearest(
        distances,
        features.pid[one],
        features.camera[one],
        features.pid[columns],
        features.camera[columns],
        top=LIST,
        taken_out=0,
        left_out=protocols.left_out(features, protocol, np.array([row]), gallery),
    )
    return [(columns[i], m) for i, m in zip(lists.item[0], lists.mark[0]) if i != ranked_lists.NOTHING]


def middle(footage: Footage, row: int) -> np.ndarray:
    """The frame in the middle of a tracklet, [H, W, 3] uint8."""
    return footage.store.read(int(footage.store_row[row]), np.array([footage.length[row] // 2]))[0]
