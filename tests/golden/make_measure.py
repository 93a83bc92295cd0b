#!/usr/bin/python3
"""Make measure.json, what PyTorch and NumPy say about the quantities of plumb.measure. README.md says how to read it.

    tests/golden/make_measure.py [--out DIR]
"""

import argparse
import os

from make_golden import LOSSES, SEED, flat, labelled_batch, network, numbers, packed, packed_labels, theta_of, write
import numpy
import torch


def functional(model, x, theta):
    """The network at other parameters, written out so that torch.autograd.functional can differentiate by theta."""
    first = 0
    for layer in model:
        if not isinstance(layer, torch.nn.Linear):
            x = layer(x)
            continue
        weight = theta[first:first + layer.weight.numel()].reshape(layer.weight.shape)
        first += weight.numel()
        bias = theta[first:first + layer.bias.numel()]
        first += bias.numel()
        x = x @ weight.T + bias
    return x


def sensitivities(model, loss_function, x, y):
    """Per sample: the Frobenius norm of d output / d input, and the norm of d (its own loss) / d input."""
    by_output, by_loss = [], []
    for i in range(len(x)):
        sample = x[i:i + 1]
        jacobian = torch.autograd.functional.jacobian(model, sample)
        gradient = torch.autograd.functional.jacobian(lambda s: LOSSES[loss_function](model(s), y[i:i + 1]), sample)
        by_output.append(jacobian.norm().item())
        by_loss.append(gradient.norm().item())
    return by_output, by_loss


def measured(name, sizes, loss_function, x, y):
    model = network(sizes, "tanh")
    theta = theta_of(model)

    def loss_of(parameters):
        return LOSSES[loss_function](functional(model, x, parameters), y)

    loss = LOSSES[loss_function](model(x), y)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    hessian = torch.autograd.functional.hessian(loss_of, theta)
    by_output, by_loss = sensitivities(model, loss_function, x, y)
    return {
        "name": name, "network": {"sizes": sizes, "activation": "tanh"}, "loss": loss_function, "inputs": packed(x),
        "targets": packed(y) if y.is_floating_point() else packed_labels(y), "theta": numbers(theta),
        "loss_value": loss.item(), "gradient_norm": flat(gradients).norm().item(),
        "layer_norms": {key: g.norm().item() for (key, _), g in zip(model.named_parameters(), gradients)},
        "hessian": packed(hessian), "eigenvalues": numpy.linalg.eigvalsh(hessian.numpy()).tolist(),
        "trace": hessian.trace().item(), "output_sensitivity": by_output, "loss_sensitivity": by_loss,
    }


def components(name, rows):
    """Principal components by the singular value decomposition of the centred rows."""
    mean = rows.mean(axis=0)
    _, singular, vectors = numpy.linalg.svd(rows - mean, full_matrices=False)
    vectors = vectors[:2]
    places = numpy.abs(vectors).argmax(axis=1)
    vectors *= numpy.sign(vectors[range(2), places])[:, None]   # the element of largest size is positive
    variances = singular ** 2 / (len(rows) - 1)
    return {"name": name, "rows": packed(torch.tensor(rows)), "components": packed(torch.tensor(vectors)),
            "projections": packed(torch.tensor((rows - mean) @ vectors.T)),
            "explained_variance": variances[:2].tolist(), "ratio": (variances[:2] / variances.sum()).tolist()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", default=os.path.dirname(os.path.abspath(__file__)),
                        help="where the file goes (default: beside this program)")
    directory = parser.parse_args().out
    torch.set_num_threads(1)
    torch.manual_seed(SEED + 10)
    generator = numpy.random.default_rng(SEED)
    x, labels = labelled_batch(15, 4, 3)
    targets = torch.randn(15, 2, dtype=torch.float64)
    write(directory, "measure.json", {
        "networks": [measured("cross_entropy", [4, 3, 3], "cross_entropy", x, labels),
                     measured("mse", [4, 3, 2], "mse", x, targets)],
        "pca": [components("wide", generator.normal(size=(5, 12)) * 3 + 100), components("tall", generator.normal(size=(12, 5)))],
    })


if __name__ == "__main__":
    main()
