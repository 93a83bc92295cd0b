#!/usr/bin/python3
"""Make the reference numbers of tests/golden with PyTorch. README.md says what they mean and how to read them.

    tests/golden/make_golden.py [--out DIR]
"""

import argparse
import json
import os
import platform

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"   # one order of summation
import torch                                                             # noqa: E402
import torch.nn.functional as F                                          # noqa: E402

SEED = 20240229
STEPS = 10
BIG_LOGIT = 1e4

ACTIVATIONS = {"leaky_relu": lambda: torch.nn.LeakyReLU(0.01), "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
LOSSES = {"mse": F.mse_loss, "cross_entropy": F.cross_entropy}


# ---- JSON -------------------------------------------------------------------------------------------------------

def numbers(tensor):
    """All values, row-major. float32 widens exactly, and Python's repr of a double reads back to the same bits."""
    return tensor.detach().double().reshape(-1).tolist()


def packed(tensor):
    return {"shape": list(tensor.shape), "data": numbers(tensor)}


def packed_labels(labels):
    """PyTorch counts classes from 0, plumb from 1."""
    return {"shape": list(labels.shape), "data": (labels + 1).tolist()}


def write(directory, name, content):
    """One line per top-level key or, in a list of cases, per case: compact, and a change shows as a readable diff."""
    def compact(value):
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    def listed(value):
        if isinstance(value, list) and isinstance(value[0], dict):
            return "[\n" + ",\n".join(compact(case) for case in value) + "\n]"
        return compact(value)

    made_by = {"torch": torch.__version__, "python": platform.python_version(), "seed": SEED}
    fields = {"made_by": made_by, **content}
    with open(os.path.join(directory, name), "w") as file:
        file.write("{\n" + ",\n".join(f'"{key}":{listed(value)}' for key, value in fields.items()) + "\n}\n")


# ---- networks ---------------------------------------------------------------------------------------------------

def network(sizes, activation):
    """Linear layers with an activation between each two, initialised by PyTorch in float32 and widened to float64."""
    layers = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:]):
        layers += [torch.nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return torch.nn.Sequential(*layers[:-1]).double()


def theta_of(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def gradient_of(model):
    return torch.cat([parameter.grad.reshape(-1) for parameter in model.parameters()])


def step_function():
    """sign(sin(5 pi x)) on 64 even points of [1e-4, 1]."""
    x = torch.linspace(1e-4, 1, 64, dtype=torch.float64).reshape(-1, 1)
    return x, torch.sign(torch.sin(5 * torch.pi * x))


def labelled_batch(points, features, classes):
    return torch.randn(points, features, dtype=torch.float64), torch.randint(classes, (points,))


# ---- 1. ten steps of training -----------------------------------------------------------------------------------

def train(model, theta0, loss_function, optimizer, x, y, dtype):
    """STEPS steps from theta0 in `dtype`; returns losses (each before its step), the first gradient, the last theta."""
    model = model.to(dtype)
    torch.nn.utils.vector_to_parameters(theta0.to(dtype, copy=True), model.parameters())   # they become views of it
    x = x.to(dtype)
    y = y.to(dtype) if y.is_floating_point() else y
    rule = dict(optimizer)
    clip_norm = rule.pop("clip_norm", None)
    stepper = getattr(torch.optim, rule.pop("name"))(model.parameters(), **rule)
    losses = []
    for step in range(STEPS):
        loss = LOSSES[loss_function](model(x), y)
        stepper.zero_grad()
        loss.backward()
        if step == 0:
            first_gradient = gradient_of(model).clone()
        losses.append(loss.item())
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        stepper.step()
    return {"losses": losses, "gradient1": numbers(first_gradient), "theta": numbers(theta_of(model))}


def trace(sizes, activation, loss_function, optimizer, x, y):
    model = network(sizes, activation)
    theta0 = theta_of(model)
    described = {"sizes": sizes, "activation": activation}
    if activation == "leaky_relu":
        described["negative_slope"] = 0.01
    return {
        "network": described, "loss": loss_function, "optimizer": optimizer, "steps": STEPS,
        "inputs": packed(x), "targets": packed(y) if y.is_floating_point() else packed_labels(y),
        "theta0": numbers(theta0),
        "float64": train(model, theta0, loss_function, optimizer, x, y, torch.float64),
        "float32": train(model, theta0, loss_function, optimizer, x, y, torch.float32),
    }


def adam(lr, weight_decay):
    return {"name": "Adam", "lr": lr, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": weight_decay}


def sgd(lr, weight_decay, nesterov):
    return {"name": "SGD", "lr": lr, "momentum": 0.9, "dampening": 0, "weight_decay": weight_decay,
            "nesterov": nesterov}


def rmsprop(lr, weight_decay, momentum, centered):
    return {"name": "RMSprop", "lr": lr, "alpha": 0.9, "eps": 1e-8, "weight_decay": weight_decay, "momentum": momentum,
            "centered": centered}


def adagrad(lr, lr_decay, weight_decay):
    return {"name": "Adagrad", "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": 0.1, "eps": 1e-10}


def write_traces(directory):
    deep, mlp = [1, 5, 10, 10, 10, 10, 10, 5, 1], [12, 16, 5]
    torch.manual_seed(SEED + 1)
    curve, batch = step_function(), labelled_batch(32, 12, 5)
    traces = {
        "deep_adam": (deep, "leaky_relu", "mse", adam(1e-3, 0), *curve),
        "deep_sgd": (deep, "leaky_relu", "mse", sgd(0.05, 1e-4, False), *curve),
        "mlp_adam": (mlp, "relu", "cross_entropy", adam(1e-2, 1e-2), *batch),
        "mlp_nesterov": (mlp, "tanh", "cross_entropy", sgd(0.1, 0, True), *batch),
        "mlp_nesterov_decayed": (mlp, "tanh", "cross_entropy", sgd(0.1, 0.05, True), *batch),
        "mlp_adamw": (mlp, "tanh", "cross_entropy", {**adam(1e-2, 0.1), "name": "AdamW"}, *batch),
        "mlp_rmsprop": (mlp, "tanh", "cross_entropy", rmsprop(1e-3, 0.1, 0, False), *batch),
        "mlp_rmsprop_centered": (mlp, "tanh", "cross_entropy", rmsprop(1e-3, 0.01, 0.9, True), *batch),
        "mlp_adagrad": (mlp, "tanh", "cross_entropy", adagrad(0.05, 0.1, 0.01), *batch),
        "mlp_clipped": (mlp, "tanh", "cross_entropy", {**sgd(0.1, 0, False), "clip_norm": 0.3}, *batch),
    }
    for name, arguments in traces.items():
        torch.manual_seed(SEED)   # networks of equal sizes start at equal theta
        write(directory, f"trace_{name}.json", trace(*arguments))


# ---- 2. schedules ------------------------------------------------------------------------------------------------

def schedule_case(name, arguments, steps, momentum=0.0, base=0.4):
    """The learning rate (and momentum) before each of `steps` steps, from an optimiser with the rate `base`."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base, momentum=momentum)
    schedule = make_schedule(name, arguments, optimizer)
    rates, momenta = [], []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        schedule.step()
    return {"name": name, "arguments": arguments, "base": base, "lr": rates, "momentum": momenta}


def make_schedule(name, arguments, optimizer):
    arguments = dict(arguments)
    if name == "SequentialLR":
        arguments["schedulers"] = [make_schedule(*inner, optimizer) for inner in arguments["schedulers"]]
    return getattr(torch.optim.lr_scheduler, name)(optimizer, **arguments)


def write_schedules(directory):
    cycle = {"max_lr": 0.5, "total_steps": 20}
    write(directory, "schedules.json", {"cases": [
        schedule_case("StepLR", {"step_size": 3}, 10),
        schedule_case("StepLR", {"step_size": 1, "gamma": 0.5}, 10),
        schedule_case("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.3}, 12),
        schedule_case("ExponentialLR", {"gamma": 0.9}, 10),
        schedule_case("CosineAnnealingLR", {"T_max": 10}, 11),
        schedule_case("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.1}, 14),
        schedule_case("LinearLR", {}, 8),
        schedule_case("LinearLR", {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 4}, 8),
        schedule_case("SequentialLR", {"schedulers": [["LinearLR", {"start_factor": 0.1, "total_iters": 3}],
                                                      ["CosineAnnealingLR", {"T_max": 6}]], "milestones": [3]}, 9),
        schedule_case("OneCycleLR", cycle, 20, 0.9),
        schedule_case("OneCycleLR", {"max_lr": 0.5, "epochs": 3, "steps_per_epoch": 7, "anneal_strategy": "linear"}, 21, 0.9),
        schedule_case("OneCycleLR", {**cycle, "three_phase": True, "pct_start": 0.4, "div_factor": 10}, 20, 0.9),
        schedule_case("OneCycleLR", {**cycle, "cycle_momentum": False, "final_div_factor": 100}, 20, 0.9),
        schedule_case("OneCycleLR", {**cycle, "pct_start": 0.13, "base_momentum": 0.5, "max_momentum": 0.99}, 20, 0.9),
    ]})


# ---- 3. operators -----------------------------------------------------------------------------------------------

def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def case(name, operator, function, inputs, arguments=None, labels=None):
    """Run function(*inputs); the gradients are those of sum(output * weights)."""
    inputs = [value.double().requires_grad_() for value in inputs]
    output = function(*inputs)
    weights = torch.randn(output.shape, dtype=torch.float64)
    gradients = torch.autograd.grad((output * weights).sum(), inputs)
    described = {"name": name, "operator": operator, "arguments": arguments or {},
                 "inputs": [packed(value) for value in inputs]}
    if labels is not None:
        described["labels"] = packed_labels(labels)
    return {**described, "output": packed(output), "weights": packed(weights),
            "gradients": [packed(gradient) for gradient in gradients]}


def activation_cases():
    around_zero = column(-30, -6, -3, -1.5, -1, -0.5, -1e-3, -1e-9, 0, 1e-9, 1e-3, 0.5, 1, 1.5, 3, 6, 30)
    saturated = column(-700, -100, -40, 40, 100, 700)
    wide = torch.cat([saturated[:3], around_zero, saturated[3:]])
    # F.softplus switches to the identity above 20, off by up to exp(-20): no points between 20 and 37.
    softplus = torch.cat([column(-700, -100, -40), around_zero[:-1], column(15, 19.5, 37, 40, 100, 700, 1e4, 1e300)])
    return [
        case("gelu", "gelu", F.gelu, [wide]),
        case("elu", "elu", F.elu, [wide], {"alpha": 1.0}),
        case("elu_alpha", "elu", lambda x: F.elu(x, 0.3), [wide], {"alpha": 0.3}),
        case("selu", "selu", F.selu, [wide]),
        case("softplus", "softplus", F.softplus, [softplus]),
        case("leaky_relu", "leaky_relu", lambda x: F.leaky_relu(x, 0.01), [wide], {"negative_slope": 0.01}),
        case("relu", "relu", F.relu, [wide]),
        case("sigmoid", "sigmoid", torch.sigmoid, [wide]),
        case("tanh", "tanh", torch.tanh, [wide]),
        case("abs", "abs", torch.abs, [wide]),
    ]


def softmax_cases():
    logits = torch.randn(3, 4, dtype=torch.float64)
    big = BIG_LOGIT * torch.tensor([[1, -1, 0, 0.5], [-1, -1, -1, -1], [1, 1, -1, -1], [-1, 0, 0, -1]],
                                   dtype=torch.float64)
    labels, wrong = torch.tensor([2, 0, 3]), torch.tensor([1, 2, 0, 3])
    last = {"axis": 2}
    cases = []
    for name, x, y in (("", logits, labels), ("_big", big, wrong)):
        cases += [
            case(f"softmax{name}", "softmax", lambda x: torch.softmax(x, 1), [x], last),
            case(f"log_softmax{name}", "log_softmax", lambda x: torch.log_softmax(x, 1), [x], last),
            case(f"logsumexp{name}", "logsumexp", lambda x: torch.logsumexp(x, 1), [x], last),
            case(f"cross_entropy{name}", "cross_entropy", lambda x: F.cross_entropy(x, y), [x], None, y),
        ]
    return cases + [
        case("log_softmax_first_axis", "log_softmax", lambda x: torch.log_softmax(x, 0), [logits], {"axis": 1}),
        case("logsumexp_one_big", "logsumexp", lambda x: torch.logsumexp(x, 0),
             [column(-BIG_LOGIT, 0, 1, BIG_LOGIT)], {"axis": 1}),
    ]


def reduction_cases():
    x = torch.randn(4, 3, dtype=torch.float64)
    # Exact in binary, so that the shift itself loses nothing; E[x^2] - E[x]^2 would lose six digits.
    shifted = 1e3 + torch.randint(-2048, 2048, (2, 8)).double() / 1024
    ties = torch.tensor([[1, 3, 3, 2], [5, 5, 5, 5], [-1, -2, -1, -3], [0, 5, -4, 5]], dtype=torch.float64)
    with_zero_row = torch.tensor([[3, -4, 0], [0, 0, 0], [1, 2, -2]], dtype=torch.float64)
    return [
        case("var", "var", torch.var, [x]),
        case("var_first_axis", "var", lambda x: torch.var(x, 0), [x], {"axis": 1}),
        case("var_shifted", "var", lambda x: torch.var(x, 1), [shifted], {"axis": 2}),
        case("var_population", "var", lambda x: torch.var(x, 1, unbiased=False), [x], {"axis": 2, "unbiased": False}),
        case("norm", "norm", torch.norm, [x]),
        case("norm_last_axis", "norm", lambda x: torch.norm(x, dim=1), [x], {"axis": 2}),
        case("norm_zero_row", "norm", lambda x: torch.norm(x, dim=1), [with_zero_row], {"axis": 2}),
        case("mean_first_axis", "mean", lambda x: torch.mean(x, 0), [x], {"axis": 1}),
        case("max_ties", "max", lambda x: torch.amax(x, 1), [ties], {"axis": 2}),
        case("max_ties_first_axis", "max", lambda x: torch.amax(x, 0), [ties], {"axis": 1}),
        case("max_ties_all", "max", torch.amax, [ties]),
        case("min_ties", "min", lambda x: torch.amin(x, 1), [ties], {"axis": 2}),
    ]


def pow_and_clamp_cases():
    signed = column(-2.5, -1, -0.3, 0, 0.3, 1, 2.5)
    positive = column(1e-3, 0.3, 1, 2.5, 1e3)
    bounds = column(-2, -1, -0.999, 0, 0.499, 0.5, 0.501, 3)
    cases = [case(f"pow_{exponent}", "pow", lambda x: torch.pow(x, exponent), [signed], {"exponent": exponent})
             for exponent in (0, 1, 2, 3)]
    cases += [case(f"pow_{exponent}", "pow", lambda x: torch.pow(x, exponent), [positive], {"exponent": exponent})
              for exponent in (-2, -0.5, 0.5, 1.5)]
    return cases + [
        case("pow_tensors", "pow", torch.pow, [positive, column(2, -1.5, 0.7, 0, -0.25)]),
        case("pow_tensors_zero_base", "pow", torch.pow, [column(0, 0, 0), column(1, 2, 2.5)]),
        case("pow_tensors_broadcast", "pow", torch.pow, [positive.reshape(5, 1), column(-1, 0.5, 2)]),
        case("clamp", "clamp", lambda x: torch.clamp(x, -1, 0.5), [bounds], {"min": -1, "max": 0.5}),
        case("clamp_min", "clamp", lambda x: torch.clamp(x, min=-1), [bounds], {"min": -1}),
        case("clamp_max", "clamp", lambda x: torch.clamp(x, max=0.5), [bounds], {"max": 0.5}),
        case("maximum_ties", "maximum", torch.maximum, [signed, column(0, -1, 1, 0, 0.3, 2, -2)]),
        case("minimum_ties", "minimum", torch.minimum, [signed, column(0, -1, 1, 0, 0.3, 2, -2)]),
    ]


def write_operators(directory):
    torch.manual_seed(SEED + 2)
    cases = activation_cases() + softmax_cases() + reduction_cases() + pow_and_clamp_cases()
    write(directory, "operators.json", {"cases": cases})


# ---- 4. second order --------------------------------------------------------------------------------------------

def second_order_case(name, sizes, activation, loss_function, x, y):
    """At a random theta: L, its gradient g, the gradient of |g|^2 (which is 2 H g), and H v for a random v."""
    model = network(sizes, activation)
    parameters = list(model.parameters())
    v = torch.randn_like(theta_of(model))
    loss = LOSSES[loss_function](model(x), y)
    gradient = flat(torch.autograd.grad(loss, parameters, create_graph=True))
    square = gradient.dot(gradient)
    square_gradient = flat(torch.autograd.grad(square, parameters, retain_graph=True))
    hessian_v = flat(torch.autograd.grad(gradient.dot(v), parameters))
    return {
        "name": name, "network": {"sizes": sizes, "activation": activation}, "loss": loss_function,
        "inputs": packed(x), "targets": packed(y) if y.is_floating_point() else packed_labels(y),
        "theta": numbers(theta_of(model)), "v": numbers(v), "loss_value": loss.item(), "gradient": numbers(gradient),
        "gradient_square": square.item(), "gradient_of_gradient_square": numbers(square_gradient),
        "hessian_v": numbers(hessian_v),
    }


# ---- 4. linear algebra ------------------------------------------------------------------------------------------

def linalg_case(name, function, inputs):
    """A function of matrices that signs and other choices do not change, and the gradients of sum(output * weights)."""
    described = case(name, name, function, inputs)
    return {key: described[key] for key in ("name", "inputs", "output", "weights", "gradients")}


def write_linalg(directory):
    linalg = torch.linalg
    torch.manual_seed(SEED + 4)
    def matrix(*shape): return torch.randn(*shape, dtype=torch.float64)
    def symmetric(x): return (x + x.mT) / 2
    def positive(x): return x @ x.mT + torch.eye(x.shape[-1], dtype=torch.float64)
    def projectors(u): return torch.einsum("...ik,...jk->...kij", u, u)   # v v^T, without the vector's sign
    def product(u, s, vh): return (u * s.cos().unsqueeze(-2)) @ vh
    write(directory, "linalg.json", {"cases": [
        linalg_case("eigvalsh", lambda x: linalg.eigvalsh(symmetric(x)), [matrix(5, 5)]),
        linalg_case("eigvalsh_batch", lambda x: linalg.eigvalsh(symmetric(x)), [matrix(2, 3, 3)]),
        linalg_case("eigh_vectors", lambda x: projectors(linalg.eigh(symmetric(x))[1]), [matrix(4, 4)]),
        linalg_case("svdvals", linalg.svdvals, [matrix(5, 3)]),
        linalg_case("svd", lambda x: product(*linalg.svd(x, full_matrices=False)), [matrix(5, 3)]),
        linalg_case("svd_wide_batch", lambda x: product(*linalg.svd(x, full_matrices=False)), [matrix(2, 3, 4)]),
        linalg_case("cholesky", lambda x: linalg.cholesky(positive(x)), [matrix(4, 4)]),
        linalg_case("qr_q", lambda x: linalg.qr(x)[0], [matrix(5, 3)]),
        linalg_case("qr_r", lambda x: linalg.qr(x)[1], [matrix(5, 3)]),
        linalg_case("solve", linalg.solve, [matrix(4, 4), matrix(4, 2)]),
        linalg_case("solve_vector", linalg.solve, [matrix(4, 4), matrix(4)]),
        linalg_case("solve_broadcast", linalg.solve, [matrix(2, 1, 3, 3), matrix(3, 3, 2)]),
        linalg_case("inv", linalg.inv, [matrix(2, 3, 3)]),
    ]})


def flat(tensors):
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def write_second_order(directory):
    torch.manual_seed(SEED + 3)
    x, labels = labelled_batch(20, 12, 5)
    targets = torch.randn(20, 5, dtype=torch.float64)
    write(directory, "second_order.json", {"cases": [
        second_order_case("tanh_cross_entropy", [12, 8, 5], "tanh", "cross_entropy", x, labels),
        second_order_case("tanh_mse", [12, 8, 5], "tanh", "mse", x, targets),
        second_order_case("deeper_tanh_cross_entropy", [12, 6, 6, 5], "tanh", "cross_entropy", x, labels),
    ]})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", default=os.path.dirname(os.path.abspath(__file__)),
                        help="where the files go (default: beside this program)")
    directory = parser.parse_args().out
    torch.set_num_threads(1)
    write_traces(directory)
    write_schedules(directory)
    write_operators(directory)
    write_second_order(directory)
    write_linalg(directory)


if __name__ == "__main__":
    main()
