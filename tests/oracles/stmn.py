"""STMN's memories and spread loss as slow loops."""

import math

import numpy as np


def softmax(values):
    powers = [math.exp(v) for v in values]
    return np.array([p / sum(powers) for p in powers])


def unit(vector):
    return vector / max(math.sqrt(sum(v * v for v in vector)), 1e-12)


def match(query, keys, *, key_norm='item'):
    """query [D], keys [n, D] -> [n]."""
    keys = keys.copy()
    if key_norm == 'item':
        for n in range(keys.shape[0]):
            keys[n] = unit(keys[n])
    else:
        for d in range(keys.shape[1]):
            keys[:, d] = unit(keys[:, d])
    query = unit(query)
    return softmax([sum(query[d] * keys[n, d] for d in range(len(query))) for n in range(len(keys))])


def spatial_memory(query, person, keys, values, scale, bias, *, query_layout='position', key_norm='item'):
    """query, person [B, L, H, W, D] -> refined map, match [B, L, H, W, M]; BN with the statistics of all rows."""
    b, l, h, w, d = query.shape
    rows = {}
    for i in range(b):
        for t in range(l):
            frame = query[i, t]
            if query_layout == 'position':
                for y in range(h):
                    for x in range(w):
                        rows[i, t, y, x] = frame[y, x]
            else:
                stream = [frame[y, x, c] for c in range(d) for y in range(h) for x in range(w)]
                for r in range(h * w):
                    rows[i, t, r // w, r % w] = np.array(stream[r * d : (r + 1) * d])
    matches = {place: match(row, keys, key_norm=key_norm) for place, row in rows.items()}
    read = {place: sum(a[n] * values[n] for n in range(len(values))) for place, a in matches.items()}
    everything = np.stack(list(read.values()))
    mean, var = everything.mean(0), everything.var(0)
    refined = person.copy()
    match_map = np.zeros((b, l, h, w, len(keys)))
    for (i, t, y, x), o in read.items():
        match_map[i, t, y, x] = matches[i, t, y, x]
        normed = (o - mean) / np.sqrt(var + 1e-5) * scale + bias
        if query_layout == 'position':
            refined[i, t, y, x] -= normed
            continue
        for k in range(d):
            element = (y * w + x) * d + k  # of the frame's numbers, channels outermost, then rows, then columns
            channel, place = divmod(element, h * w)
            refined[i, t, place // w, place % w, channel] -= normed[k]
    return refined, match_map


def last_state(frames, weight_ih, weight_hh, bias_ih, bias_hh):
    """frames [L, D] -> last hidden state [H]."""

    def sigmoid(v):
        return 1 / (1 + math.exp(-v))

    size = weight_hh.shape[1]
    h, c = np.zeros(size), np.zeros(size)
    for frame in frames:
        gates = weight_ih @ frame + bias_ih + weight_hh @ h + bias_hh
        for k in range(size):
            i, f, g = (gates[gate * size + k] for gate in range(3))
            c[k] = sigmoid(f) * c[k] + sigmoid(i) * math.tanh(g)
        h = np.array([sigmoid(gates[3 * size + k]) * math.tanh(c[k]) for k in range(size)])
    return h


def temporal_memory(frames, lstm, keys, values, *, key_norm='item'):
    """frames [B, L, D] -> weights [B, L], match [B, N]."""
    matches = np.stack([match(last_state(clip, **lstm), keys, key_norm=key_norm) for clip in frames])
    return np.stack([softmax(sum(a[n] * values[n] for n in range(len(values)))) for a in matches]), matches


def temporal_mlp(frames, lstm, inner, outer):
    """frames [B, L, D] -> weights [B, L]."""
    rows = []
    for clip in frames:
        hidden = [max(v, 0) for v in last_state(clip, **lstm) @ inner]
        rows.append(softmax(np.array(hidden) @ outer))
    return np.stack(rows)


def memory_spread(match_map, *, alpha, reduce, groups=1):
    """[B, ..., M] -> scalar, averaged over equal slices of the clips."""
    losses = []
    for part in np.split(match_map, groups):
        rows = part.reshape(-1, match_map.shape[-1])
        items = [max(min(column) - max(column) + alpha, 0) for column in rows.T]
        losses.append(sum(items) / (len(items) if reduce == 'mean' else 1))
    return sum(losses) / groups
