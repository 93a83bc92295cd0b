#!/usr/bin/python3
"""Make layers.json and cnn.json: layers for images and a small network of them, by PyTorch. README.md says how to read them.

    tests/golden/make_layers.py [--out DIR]
"""

import argparse
import os

from make_golden import flat, gradient_of, numbers, packed, packed_labels, theta_of, write, SEED
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def options(given):
    """Lua's lists and false become PyTorch's tuples and, for the momentum, None."""
    result = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if result.get("momentum") is False:
        result["momentum"] = None
    return result


def make(layer, arguments):
    plain = [tuple(a) if isinstance(a, list) else a for a in arguments if not isinstance(a, dict)]
    named = [a for a in arguments if isinstance(a, dict)]
    module = getattr(torch.nn, layer)(*plain, **options(named[0] if named else {}))
    with torch.no_grad():
        for parameter in module.parameters():   # so that a weight of 1 or a bias of 0 cannot be left out
            parameter.copy_(torch.randn_like(parameter))
    return module


def state_of(module):
    return {name: packed(value) for name, value in module.state_dict().items() if value.numel() > 0}


def layer_case(layer, shape, *arguments):
    """A pass in training mode with its gradients of sum(output * weights). For batch normalisation then a pass over 2 x + 1,
    the state after it, and a pass in evaluation mode."""
    module = make(layer, arguments)
    case = {"layer": layer, "arguments": list(arguments), "theta": numbers(theta_of(module)) if list(module.parameters()) else []}
    x = torch.randn(shape, requires_grad=True)
    output = module(x)
    weights = torch.randn_like(output)
    gradients = torch.autograd.grad((output * weights).sum(), [x, *module.parameters()])
    case |= {"input": packed(x), "output": packed(output), "weights": packed(weights), "input_gradient": packed(gradients[0]),
             "gradient": numbers(flat(gradients[1:])) if gradients[1:] else []}
    if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
        module(2 * x + 1)
        case["state"] = state_of(module)
        module.eval()
        case["evaluated"] = packed(module(x))
    return case


def layer_cases():
    images, odd = (2, 4, 4, 3), (1, 3, 6, 5)
    return [
        layer_case("Conv2d", images, 4, 6, 3),
        layer_case("Conv2d", images, 4, 6, 3, {"padding": 1, "bias": False}),
        layer_case("Conv2d", images, 4, 6, [2, 3], {"stride": [2, 1], "padding": [1, 0]}),
        layer_case("Conv2d", odd, 3, 6, [3, 2], {"dilation": [1, 2], "groups": 3, "padding": 2}),
        layer_case("Conv2d", odd, 3, 2, [4, 3], {"padding": "same"}),
        layer_case("Conv2d", odd, 3, 2, [2, 4], {"padding": "same", "dilation": [3, 1]}),
        layer_case("Conv2d", odd, 3, 2, 3, {"padding": "valid"}),
        layer_case("Conv2d", (2, 1, 1, 1), 1, 3, 1),
        layer_case("MaxPool2d", images, 2),
        layer_case("MaxPool2d", odd, [3, 2], {"stride": [1, 2], "padding": [1, 0]}),
        layer_case("MaxPool2d", odd, 2, {"stride": 2, "dilation": [2, 1], "padding": 1}),
        layer_case("AvgPool2d", images, 2),
        layer_case("AvgPool2d", odd, [3, 2], {"stride": [2, 1], "padding": [1, 0]}),
        layer_case("AvgPool2d", odd, 3, {"stride": 2, "padding": 1, "count_include_pad": False}),
        layer_case("AdaptiveAvgPool2d", odd, 1),
        layer_case("AdaptiveAvgPool2d", odd, [3, 4]),
        layer_case("AdaptiveAvgPool2d", odd, [9, 5]),
        layer_case("BatchNorm2d", images, 4),
        layer_case("BatchNorm2d", images, 4, {"eps": 1e-3, "momentum": 0.3, "affine": False}),
        layer_case("BatchNorm2d", images, 4, {"track_running_stats": False}),
        layer_case("BatchNorm2d", (1, 3, 1, 2), 3, {"momentum": False}),
        layer_case("BatchNorm1d", (6, 5), 5),
        layer_case("BatchNorm1d", (2, 5, 3), 5, {"momentum": False}),
        layer_case("LayerNorm", (3, 4, 5), 5),
        layer_case("LayerNorm", (3, 4, 5), [4, 5], {"eps": 1e-2}),
        layer_case("LayerNorm", (2, 5), [2, 5], {"elementwise_affine": False}),
    ]


def network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 6, (2, 3), stride=(1, 2), padding=(0, 1), groups=2, bias=False),
        torch.nn.BatchNorm2d(6, momentum=0.3), torch.nn.ReLU(), torch.nn.AvgPool2d(2, stride=1),
        torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.BatchNorm1d(8, momentum=None), torch.nn.LayerNorm(8),
        torch.nn.Linear(8, 3))


def cnn():
    """Five training steps on batches of different sizes, by SGD with momentum, then the whole set in evaluation mode."""
    model = network()
    x, y = torch.randn(22, 2, 8, 8), torch.randint(3, (22,))
    content = {"x": packed(x), "y": packed_labels(y), "theta": numbers(theta_of(model)), "lr": 0.1, "momentum": 0.9,
               "batches": [[1, 5], [6, 10], [11, 15], [16, 20], [21, 22]], "losses": [], "outputs": [], "gradients": [],
               "buffers": []}
    optimizer = torch.optim.SGD(model.parameters(), lr=content["lr"], momentum=content["momentum"])
    for first, last in content["batches"]:
        optimizer.zero_grad()
        output = model(x[first - 1:last])
        loss = F.cross_entropy(output, y[first - 1:last])
        loss.backward()
        content["losses"].append(loss.item())
        content["outputs"].append(packed(output))
        content["gradients"].append(numbers(gradient_of(model)))
        content["buffers"].append(numbers(flat(list(model.buffers()))))
        optimizer.step()
    content |= {"trained_theta": numbers(theta_of(model)), "state": state_of(model)}
    model.eval()
    optimizer.zero_grad()
    output = model(x)
    loss = F.cross_entropy(output, y)
    loss.backward()
    return content | {"evaluated": packed(output), "evaluated_loss": loss.item(),
                      "evaluated_gradient": numbers(gradient_of(model))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", default=os.path.dirname(os.path.abspath(__file__)),
                        help="where the files go (default: beside this program)")
    directory = parser.parse_args().out
    torch.set_num_threads(1)
    torch.manual_seed(SEED + 4)
    write(directory, "layers.json", {"cases": layer_cases()})
    write(directory, "cnn.json", cnn())


if __name__ == "__main__":
    main()
