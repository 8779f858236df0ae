"""STAR in PyTorch with its own convolutions, on [B, C, T, H, W], in training mode.

Parameters are a flat dict of tensors in channels-last layout under the names of the network under test, so that
gradients can be compared leaf by leaf.
"""

import torch
import torch.nn.functional as F

from tests.oracles import torch_video_resnet as resnet


def linear(x, p, name):
    y = x @ p[f'{name}/kernel']
    return y + p[f'{name}/bias'] if f'{name}/bias' in p else y


def factor(logits):
    """A gate that starts as the identity."""
    return 2 * torch.sigmoid(logits)


def lsta(x, p, n):
    """Dilated, own kernels."""
    b, c, t, h, w = x.shape
    x = x.transpose(1, 2).reshape(b * t, c, h, w)
    first = [torch.relu(linear(pool, p, f'{n}/channel/squeeze')) for pool in (x.mean((2, 3)), x.flatten(2).amax(2))]
    x = x * factor(linear(first[0] + first[1], p, f'{n}/channel/expand'))[:, :, None, None]
    maps = torch.stack([x.mean(1), x.amax(1)], dim=1)
    weight = p[f'{n}/spatial/kernel'].permute(3, 2, 0, 1)
    scales = [
        F.conv2d(maps, weight[k : k + 1], p[f'{n}/spatial/bias'][k : k + 1], padding=k + 1, dilation=k + 1)
        for k in range(3)
    ]
    joined = linear(torch.relu(torch.cat(scales, dim=1)).movedim(1, -1), p, f'{n}/spatial/join')
    gate = factor(joined.movedim(-1, 1))
    return (x * gate).reshape(b, t, c, h, w).transpose(1, 2), gate.reshape(b, t, h, w)


def cbam(x, p, n, bn):
    b, c, t, h, w = x.shape
    x = x.transpose(1, 2).reshape(b * t, c, h, w)
    both = torch.stack([x.mean((2, 3)), x.flatten(2).amax(2)])
    logits = linear(torch.relu(linear(both, p, f'{n}/channel/squeeze')), p, f'{n}/channel/expand').sum(0)
    x = x * factor(logits)[:, :, None, None]
    maps = torch.stack([x.mean(1), x.amax(1)], dim=1)
    logits = F.conv2d(maps, p[f'{n}/spatial/kernel'].permute(3, 2, 0, 1), padding=3)
    gate = factor(bn(logits.reshape(b, t, 1, h, w).transpose(1, 2), f'{n}/spatial/norm').transpose(1, 2))
    gate = gate.reshape(b * t, 1, h, w)
    return (x * gate).reshape(b, t, c, h, w).transpose(1, 2), gate.reshape(b, t, h, w)


def bottleneck(x, p, n, bn, stride):
    """With CBAM on the branch."""
    y = torch.relu(bn(resnet.conv2d(x, p[f'{n}/conv1/kernel']), f'{n}/bn1'))
    y = torch.relu(bn(resnet.conv2d(y, p[f'{n}/conv2/kernel'], stride), f'{n}/bn2'))
    y, gate = cbam(bn(resnet.conv2d(y, p[f'{n}/conv3/kernel']), f'{n}/bn3'), p, f'{n}/attention', bn)
    if f'{n}/downsample_conv/kernel' in p:
        x = bn(resnet.conv2d(x, p[f'{n}/downsample_conv/kernel'], stride), f'{n}/downsample_bn')
    return torch.relu(x + y), gate


def gsta(f, p, n):
    weight, bias = p[f'{n}/conv_lstm/kernel'].permute(3, 2, 0, 1), p[f'{n}/conv_lstm/bias']
    b, _, t, h, w = f.shape
    hidden = memory = torch.zeros(b, weight.shape[0] // 4, h, w, dtype=f.dtype)
    states = []
    for i in range(t):
        gates = F.conv2d(torch.cat([f[:, :, i], hidden], dim=1), weight, bias, padding=1)
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(leave) * torch.tanh(memory)
        states.append(hidden.mean((2, 3)))
    states = torch.stack(states, dim=1)  # [B, T, hidden]
    energy = linear(torch.relu(linear(states, p, f'{n}/kernel/w7')), p, f'{n}/kernel/w8')[..., 0]
    weights = torch.softmax(energy, dim=1)
    summary = torch.einsum('bt,bth->bh', weights, states)
    return linear(summary, p, f'{n}/w9') + f.mean((2, 3, 4)), weights


def forward(p, stats, clips, flow, *, depths, strides, attends):
    """clips, flow [B, C, T, H, W] -> vector, logits, weights of the last maps' positions, weights of the frames, maps.

    LSTA after the stages in `attends`, the last among them, and GSTA.
    """
    bn = resnet.normaliser(p, stats, True)
    x = 0
    for name, given in (('stem', clips), ('flow_stem', flow)):
        y = torch.relu(bn(resnet.conv2d(given, p[f'{name}/conv1/kernel'], 2), f'{name}/bn1'))
        x = x + F.max_pool3d(y, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for s, (depth, stage_stride) in enumerate(zip(depths, strides, strict=True), start=1):
        for i in range(depth):
            stride = stage_stride if i == 0 else 1
            x = resnet.bottleneck(x, p, f'layer{s}/block{i}', bn, kind='c2d', stride=stride, has_unit=False)
        if s in attends:
            x, gate = lsta(x, p, f'attention{s}')
    vector, weights = gsta(x, p, 'aggregator')
    return vector, vector @ p['head/classifier'], gate, weights, x
