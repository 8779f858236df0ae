"""The STRF paper's networks in PyTorch with its own 3-D convolutions and pools, on [B, C, T, H, W].

Parameters are a flat dict of tensors in channels-last layout under the names of the network under test, so that
gradients can be compared leaf by leaf.
"""

import torch
import torch.nn.functional as F


def conv2d(x, kernel, stride=1):
    k = kernel.shape[0]
    return F.conv3d(x, kernel.permute(3, 2, 0, 1)[:, :, None], stride=(1, stride, stride), padding=(0, k // 2, k // 2))


def conv3d(x, kernel, stride=1):
    return F.conv3d(x, kernel.permute(4, 3, 0, 1, 2), stride=(1, stride, stride), padding=1)


def temporal(x, kernel, stride=1):
    weight = kernel.permute(2, 1, 0)[..., None, None]
    return F.conv3d(x, weight, stride=(1, stride, stride), padding=(1, 0, 0))


def strf(f, p, name, *, order='t_then_s', r_tau=1, r_sigma=3, average=False, kappa=4.0):
    """The unit with all four branches, odd extents."""

    def module(d, f):
        b, c, t, h, w = f.shape
        x = f.reshape(b, c * t, h * w)
        total = 0
        for k, r in (('tau', r_tau), ('sigma', r_sigma)):
            kernel = p[f'{name}/{d}_{k}']
            u = F.conv3d(f, kernel.T[..., None, None, None])
            window = (r, 1, 1) if d == 't' else (1, r, r)
            padding = tuple(n // 2 for n in window)
            v = (F.avg_pool3d if average else F.max_pool3d)(u, window, 1, padding)
            columns = F.normalize(v, dim=1).reshape(b, -1, h * w)
            total = total + x @ torch.softmax(kappa * columns.transpose(1, 2) @ columns, dim=1)
        return total.reshape(f.shape)

    if order == 'parallel':
        return module('t', f) + module('s', f)
    first, second = order.split('_then_')
    return module(second, module(first, f))


def nonlocal_block(x, p, name, bn):
    b, c, t, h, w = x.shape

    def project(which, y):
        return F.conv3d(y, p[f'{name}/{which}/kernel'].T[..., None, None, None], p[f'{name}/{which}/bias'])

    theta = project('theta', x).reshape(b, c // 2, -1)
    phi = F.max_pool3d(project('phi', x), (1, 2, 2)).reshape(b, c // 2, -1)
    g = F.max_pool3d(project('g', x), (1, 2, 2)).reshape(b, c // 2, -1)
    attention = torch.softmax(theta.transpose(1, 2) @ phi, dim=-1)
    y = (g @ attention.transpose(1, 2)).reshape(b, c // 2, t, h, w)
    return x + bn(project('out', y), f'{name}/norm')


def bottleneck(x, p, n, bn, *, kind, stride, has_unit, location='3x1x1', order='t_then_s'):
    def unit(f, where):
        return strf(f, p, f'{n}/strf', order=order) if has_unit and where == location else f

    k2 = p[f'{n}/conv2/kernel']
    y = torch.relu(bn(conv2d(x, p[f'{n}/conv1/kernel']), f'{n}/bn1'))
    match kind:
        case 'c2d':
            y = conv2d(y, k2, stride)
        case 'i3d':
            y = conv3d(unit(y, location), k2, stride)
        case 'p3da':
            y = temporal(unit(conv2d(unit(y, '1x3x3'), k2, stride), '3x1x1'), p[f'{n}/temporal/kernel'])
        case 'p3db':
            y = conv2d(unit(y, '1x3x3'), k2, stride) + temporal(unit(y, '3x1x1'), p[f'{n}/temporal/kernel'], stride)
        case _:
            y = conv2d(unit(y, '1x3x3'), k2, stride)
            y = y + temporal(unit(y, '3x1x1'), p[f'{n}/temporal/kernel'])
    y = bn(conv2d(torch.relu(bn(y, f'{n}/bn2')), p[f'{n}/conv3/kernel']), f'{n}/bn3')
    if f'{n}/downsample_conv/kernel' in p:
        x = bn(conv2d(x, p[f'{n}/downsample_conv/kernel'], stride), f'{n}/downsample_bn')
    return torch.relu(x + y)


def normaliser(p, stats, train):
    """BatchNorm by name; updates `stats` in place when training."""

    def bn(x, name):
        bias = p[f'{name}/bias'] if f'{name}/bias' in p else stats[f'{name}/bias']  # the second: frozen
        return F.batch_norm(
            x, stats[f'{name}/mean'], stats[f'{name}/var'], p[f'{name}/scale'], bias, train, momentum=0.1, eps=1e-5
        )

    return bn


def forward(p, stats, clips, *, depths, strides, block, stages, strf_stages, order, nonlocal_after, head, frame_pool):
    """clips [B, 3, T, H, W] -> embedding, feature before the neck, logits, in training mode."""
    bn = normaliser(p, stats, True)
    x = torch.relu(bn(conv2d(clips, p['stem/conv1/kernel'], 2), 'stem/bn1'))
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for s, (depth, stage_stride) in enumerate(zip(depths, strides, strict=True), start=1):
        for i in range(depth):
            kind = block if i % 2 == 0 and (s in stages or s in strf_stages) else 'c2d'
            x = bottleneck(
                x,
                p,
                f'layer{s}/block{i}',
                bn,
                kind=kind,
                stride=stage_stride if i == 0 else 1,
                has_unit=kind != 'c2d' and s in strf_stages,
                order=order,
            )
            if (s, i) in nonlocal_after:
                x = nonlocal_block(x, p, f'layer{s}/nonlocal{i}', bn)
    frames = x.amax((3, 4)) if frame_pool == 'max' else x.mean((3, 4))
    feature = frames.mean(2)
    embedding = bn(feature, 'head/neck')
    logits = embedding @ p['head/classifier']
    if head == 'a':
        logits = logits + p['head/classifier_bias']
    return embedding, feature, logits
