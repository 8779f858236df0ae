"""STAR's modules as loops over frames and positions, in double precision, on one clip at a time [T, H, W, C]."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def convolve(x, kernel, *, dilation=1):
    """[H, W, Ci] with [k, k, Ci, Co], zeros outside: every output pixel sums its taps."""
    h, w, _ = x.shape
    reach = kernel.shape[0] // 2
    out = np.zeros((h, w, kernel.shape[-1]))
    for r in range(h):
        for c in range(w):
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    rr, cc = r + i * dilation, c + j * dilation
                    if 0 <= rr < h and 0 <= cc < w:
                        out[r, c] += x[rr, cc] @ kernel[i + reach, j + reach]
    return out


def channel_logits(frame, p, *, kind):
    def first(pool):
        return np.maximum(pool @ p['squeeze']['kernel'] + p['squeeze']['bias'], 0)

    def second(hidden):
        return hidden @ p['expand']['kernel'] + p['expand']['bias']

    mean, largest = frame.mean((0, 1)), frame.max((0, 1))
    match kind:
        case 'lsta':
            return second(first(mean) + first(largest))
        case 'cbam':
            return second(first(mean)) + second(first(largest))
        case 'se':
            return second(first(mean))


def spatial_logits(frame, p, *, kind):
    maps = np.stack([frame.mean(-1), frame.max(-1)], axis=-1)
    if kind == 'conv7':
        return (convolve(maps, p['kernel']) + p.get('bias', 0))[..., 0]
    scales = []
    for k in range(3):
        own = p['kernel'][..., [k if p['kernel'].shape[-1] == 3 else 0]]
        one = convolve(maps, own, dilation=k + 1 if kind == 'dilated' else 1)[..., 0]
        scales.append(np.maximum(one + p['bias'][k], 0))
    return np.stack(scales, axis=-1) @ p['join']['kernel'][:, 0] + p['join']['bias'][0]


def gate(logits, *, identity):
    return 2 * sigmoid(logits) if identity else sigmoid(logits)


def lsta(frame, p, *, spatial='dilated', identity=True):
    frame = frame * gate(channel_logits(frame, p['channel'], kind='lsta'), identity=identity)
    if spatial == 'off':
        return frame
    return frame * gate(spatial_logits(frame, p['spatial'], kind=spatial), identity=identity)[..., None]


def cbam(frame, p, norm, *, identity=True):
    """`norm` holds running mean and variance [1]; scale and bias are in p['spatial']['norm']."""
    frame = frame * gate(channel_logits(frame, p['channel'], kind='cbam'), identity=identity)
    logits = (spatial_logits(frame, p['spatial'], kind='conv7') - norm['mean'][0]) / np.sqrt(norm['var'][0] + 1e-5)
    logits = logits * p['spatial']['norm']['scale'][0] + p['spatial']['norm']['bias'][0]
    return frame * gate(logits, identity=identity)[..., None]


def squeeze_excite(frame, p, *, identity=True):
    return frame * gate(channel_logits(frame, p['channel'], kind='se'), identity=identity)


def holistic(frame, p):
    h, w, c = frame.shape
    hidden = np.maximum(frame.reshape(-1, c) @ p['hidden']['kernel'], 0)
    weights = softmax((hidden @ p['energy']['kernel'])[:, 0]) * h * w
    return frame * weights.reshape(h, w, 1)


def conv_lstm(clip, p):
    """Hidden maps [T, H, W, hidden]."""
    hidden = np.zeros((*clip.shape[1:3], p['bias'].size // 4))
    memory = np.zeros_like(hidden)
    states = []
    for frame in clip:
        gates = convolve(np.concatenate([frame, hidden], axis=-1), p['kernel']) + p['bias']
        i, f, g, o = np.split(gates, 4, axis=-1)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(memory)
        states.append(hidden)
    return np.array(states)


def lstm(frames, p):
    """Hidden states [T, hidden] of [T, D]."""
    hidden = np.zeros(p['weight_hh'].shape[1])
    memory, states = hidden, []
    for x in frames:
        gates = p['weight_ih'] @ x + p['weight_hh'] @ hidden + p['bias_ih'] + p['bias_hh']
        i, f, g, o = np.split(gates, 4)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(memory)
        states.append(hidden)
    return np.array(states)


def conv3d(clip, kernel):
    """[T, H, W, Ci] with [3, 3, 3, Ci, Co], zeros outside."""
    out = []
    for t in range(len(clip)):
        taps = [convolve(clip[t + k - 1], kernel[k]) for k in range(3) if 0 <= t + k - 1 < len(clip)]
        out.append(sum(taps))
    return np.array(out)


def aggregate(clip, p, stats, *, kind):
    """Vector [C] and weights of the frames, None where frames are not weighed. BN by its running statistics."""
    frames = clip.mean((1, 2))
    match kind:
        case 'pool':
            return frames.mean(0), None
        case 'holistic':
            weights = softmax((frames @ p['energy']['kernel'])[:, 0] + p['energy']['bias'][0])
            return weights @ frames, weights
        case 'conv3d':
            x = clip
            for i in ('1', '2'):
                bn, seen = p[f'bn{i}'], stats[f'bn{i}']
                x = (conv3d(x, p[f'conv{i}']) - seen['mean']) / np.sqrt(seen['var'] + 1e-5) * bn['scale'] + bn['bias']
                x = np.maximum(x, 0)
            return x.mean((0, 1, 2)) @ p['w9']['kernel'] + frames.mean(0), None
        case 'gsta':
            hidden = conv_lstm(clip, p['conv_lstm']).mean((1, 2))
        case 'lstm':
            hidden = lstm(frames, p['lstm'])
    k = p['kernel']
    energy = [np.maximum(h @ k['w7']['kernel'] + k['w7']['bias'], 0) @ k['w8']['kernel'][:, 0] for h in hidden]
    weights = softmax(np.array(energy) + k['w8']['bias'][0])
    return (weights @ hidden) @ p['w9']['kernel'] + frames.mean(0), weights


def pyramid_ranking(levels, labels, *, margin, mined_on=None):
    """levels: [B, T, G, C] each. Every stripe of every level by itself, every anchor by itself."""

    def distance(x, y):
        return np.sqrt(max(float(((x - y) ** 2).sum()), 1e-12))

    def others(a, same):
        return [b for b in range(len(labels)) if b != a and (labels[b] == labels[a]) == same]

    anchors = []
    for a in range(len(labels)):
        if not others(a, same=False):
            continue
        level_losses = []
        for level in levels:
            losses = []
            for z in range(level.shape[2]):
                rows = [clip[:, z].mean(0) + clip[:, z].max(0) for clip in level]
                by = rows if mined_on is None else mined_on
                negative = min(others(a, same=False), key=lambda b: distance(by[a], by[b]))
                positives = others(a, same=True)
                d = distance(rows[a], rows[max(positives, key=lambda b: distance(by[a], by[b]))]) if positives else 0.0
                losses.append(max(margin + d - distance(rows[a], rows[negative]), 0.0))
            level_losses.append(np.mean(losses))
        anchors.append(np.mean(level_losses))
    return np.mean(anchors)
