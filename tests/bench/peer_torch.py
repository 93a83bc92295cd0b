#!/usr/bin/python3
"""PyTorch's side of one workload as a process of its own: peer_torch.py SETTING FILE, the workload as JSON.

It answers each line of standard input with one of JSON, as tests/bench/side.lua does:

    run N    {"steps": , "seconds": }  after N steps
    check    {"values": [...]}         what both sides must agree on
    peak     {"mb": }                  the most memory that the process has taken

SETTING is N or N+M threads: PyTorch's own loops (OpenMP) and OpenBLAS keep separate pools, N goes to the first and M to the
second. 1+2 matters with OpenBLAS: at 2 the OpenMP threads go on spinning after their loop and take the processors from it.

A step is written as PyTorch's users do who want it fast, of what this version has: the fused Adam where there is one, else
that which is fastest here; gradients set to None; inference mode for evaluation; batched gradients for the Hessian; nothing
reads a loss back. plumb shuffles its data in every epoch, and so do these loops.
"""

import gzip
import json
import math
import os
import struct
import sys
import time

CHECKED_STEPS = 20   # of training
PIXELS, CLASSES = 784, 10

SETTING, WORKLOAD = sys.argv[1], json.load(open(sys.argv[2]))
LOOP_THREADS, _, BLAS_THREADS = SETTING.partition("+")
# torch.set_num_threads does not reach OpenBLAS, which must be told before the import.
os.environ["OMP_NUM_THREADS"] = LOOP_THREADS
os.environ["OPENBLAS_NUM_THREADS"] = BLAS_THREADS or LOOP_THREADS

import torch  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(int(LOOP_THREADS))
torch.manual_seed(1)


# ---- files ----

def read_safetensors(path):
    dtypes = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "U8": torch.uint8}
    with open(path, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    return {name: torch.frombuffer(data, dtype=dtypes[entry["dtype"]], offset=entry["data_offsets"][0],
                                   count=math.prod(entry["shape"])).reshape(entry["shape"])
            for name, entry in header.items()}


def read_idx(path):
    """The uint8 tensor of an IDX file, gzipped or not."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        data = bytearray(file.read())
    shape = struct.unpack_from(f">{data[3]}I", data, 4)
    return torch.frombuffer(data, dtype=torch.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def read_mnist(half):
    images = read_idx(f"{WORKLOAD['data']}/{half}-images-idx3-ubyte.gz")
    return images.reshape(-1, 1, 28, 28), read_idx(f"{WORKLOAD['data']}/{half}-labels-idx1-ubyte.gz").long()


# ---- networks and data ----

def build(w, dropout=True):
    if "network" in w:
        return convolutional(w["network"], dropout)
    widths = w["widths"]
    curve = nn.Tanh if w["kind"] == "second_order" else nn.LeakyReLU
    activation = nn.ReLU if widths[0] > 1 else curve
    layers = [nn.Flatten()] if widths[0] > 1 else []
    for inputs, outputs in zip(widths[:-1], widths[1:]):
        layers += [nn.Linear(inputs, outputs), activation()]
    model = nn.Sequential(*layers[:-1])
    return model.double() if w.get("dtype") == "float64" else model


def convolutional(network, dropout):
    """The networks of scripts/train_cnn.lua."""
    def stage(inputs, outputs):
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    if network == "simple":
        return nn.Sequential(stage(1, 32), stage(32, 64), nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, CLASSES))
    return nn.Sequential(stage(1, 32), stage(32, 64), stage(64, 128), nn.Flatten(), nn.Dropout(0.25 if dropout else 0),
                         nn.Linear(1152, 256), nn.ReLU(), nn.Dropout(0.5 if dropout else 0), nn.Linear(256, CLASSES))


def loss_function(w):
    return nn.CrossEntropyLoss() if "network" in w or w["widths"][0] > 1 else nn.MSELoss()


def training_set(w):
    """Points of a curve; or images: float32 for dense networks, as they are fastest there, else uint8."""
    if "network" in w or w["widths"][0] > 1:
        images, labels = read_mnist("train")
        if "points" in w:
            images, labels = images[:w["points"]], labels[:w["points"]]
        return (images if "network" in w else images.float().div_(255)), labels
    points = read_safetensors(w["set"])
    return points["x"], points["y"]


def numbers(x):
    return x.float() / 255 if x.dtype == torch.uint8 else x


def loaded(w, weights, dropout=True):
    model = build(w, dropout)
    model.load_state_dict(weights)
    return model


# ---- steps: of each kind of workload functions run(n) -> (steps, seconds) and check() -> values ----

def timed(step):
    def run(n):
        start = time.perf_counter()
        for _ in range(n):
            step()
        return n, time.perf_counter() - start
    return run


def adam(parameters):
    parameters = list(parameters)
    try:
        return torch.optim.Adam(parameters, lr=1e-3, fused=True)   # on the CPU since 2.4
    except (RuntimeError, TypeError):
        return torch.optim.Adam(parameters, lr=1e-3)


def train(model, criterion, x, y, batch, steps, shuffle=True, losses=None):
    optimizer = adam(model.parameters())
    count = len(x)
    first, order = count, None
    for _ in range(steps):
        if first >= count:
            first = 0
            order = torch.randperm(count) if shuffle else None
        if batch >= count:
            inputs, targets = x, y
        elif shuffle:
            index = order[first:first + batch]
            inputs, targets = x[index], y[index]
        else:
            inputs, targets = x[first:first + batch], y[first:first + batch]
        first += batch
        loss = criterion(model(numbers(inputs)), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if losses is not None:
            losses.append(loss.item())


def training(w, weights):
    x, y = training_set(w)
    criterion, model = loss_function(w), loaded(w, weights)

    def run(n):
        examples = min(n * w["batch"], len(x))
        start = time.perf_counter()
        train(model, criterion, x[:examples], y[:examples], w["batch"], n)
        return n, time.perf_counter() - start

    def check():
        losses = []
        train(loaded(w, weights, dropout=False), criterion, x, y, w["batch"], CHECKED_STEPS, shuffle=False, losses=losses)
        return losses
    return run, check


def evaluation(w, weights):
    x, y = training_set(w)
    model = loaded(w, weights).eval()

    def evaluate():
        loss, right = 0.0, 0
        with torch.inference_mode():
            for inputs, targets in zip(x.split(w["batch"]), y.split(w["batch"])):
                output = model(numbers(inputs))
                loss += nn.functional.cross_entropy(output, targets, reduction="sum").item()
                right += (output.argmax(1) == targets).sum().item()
        return [loss / len(x), right / len(x)]
    return timed(evaluate), evaluate


def second_order(w, weights):
    x, y = training_set(w)
    direction = weights.pop("direction")
    model, criterion = loaded(w, weights), loss_function(w)
    parameters = list(model.parameters())
    directions = [part.reshape(p.shape) for part, p in zip(direction.split([p.numel() for p in parameters]), parameters)]

    def gradients(**options):
        return torch.autograd.grad(criterion(model(x), y), parameters, **options)

    def flat(tensors):
        return torch.cat([tensor.reshape(-1) for tensor in tensors])

    def hvp():
        return torch.autograd.grad(gradients(create_graph=True), parameters, grad_outputs=directions)

    def spectrum():
        """All rows of the Hessian at once."""
        gradient = flat(gradients(create_graph=True))
        rows = torch.autograd.grad(gradient, parameters, torch.eye(len(gradient), dtype=gradient.dtype), is_grads_batched=True)
        return torch.linalg.eigvalsh(torch.cat([row.reshape(len(gradient), -1) for row in rows], 1))

    def spectrum_by_rows():
        """As torch.autograd.functional.hessian does unless it is told otherwise."""
        gradient = flat(gradients(create_graph=True))
        rows = [flat(torch.autograd.grad(number, parameters, retain_graph=True)) for number in gradient]
        return torch.linalg.eigvalsh(torch.stack(rows))

    if w["task"] == "gradient_norm":
        return descent_of_gradient_norm(w, weights)
    step = {"gradient": gradients, "hvp": hvp, "hessian": spectrum, "hessian_rows": spectrum_by_rows}[w["task"]]
    return timed(step), lambda: step().tolist() if step in (spectrum, spectrum_by_rows) else flat(step())[-20:].tolist()


def descent_of_gradient_norm(w, weights):
    """Adam on |grad L|^2 / 2."""
    x, y = training_set(w)
    criterion = loss_function(w)

    def descend(model, optimizer, steps, rate=None, seen=None):
        parameters = list(model.parameters())
        for step in range(steps):
            loss = criterion(model(x), y)
            gradients = torch.autograd.grad(loss, parameters, create_graph=True)
            square = sum(gradient.square().sum() for gradient in gradients)
            optimizer.zero_grad(set_to_none=True)
            (square / 2).backward()
            if rate:
                optimizer.param_groups[0]["lr"] = rate(step)
            optimizer.step()
            if seen is not None:
                seen.append((square.sqrt().item(), loss.item()))

    def check():
        """The gradient's norm at the start, and norm and loss where it is least on the way, as find_critical_point says."""
        model, seen = loaded(w, weights), []
        descend(model, adam(model.parameters()), CHECKED_STEPS, seen=seen,
                rate=lambda step: 1e-4 * (1 + math.cos(math.pi * step / CHECKED_STEPS)) / 2)
        return [seen[0][0], *min(seen)]

    model = loaded(w, weights)
    optimizer = adam(model.parameters())
    optimizer.param_groups[0]["lr"] = 1e-4

    def run(n):
        start = time.perf_counter()
        descend(model, optimizer, n)
        return n, time.perf_counter() - start
    return run, check


def matmul(w, weights):
    x, y = weights["x"], weights["y"]

    def product():
        with torch.inference_mode():
            return x @ y
    return timed(product), lambda: [product().square().mean().sqrt().item()]


def load(w, weights):
    def read():
        return [part for half in ("train", "t10k") for part in read_mnist(half)]

    def check():
        train_images, train_labels, test_images, _ = read()
        return [train_images.long().sum().item(), test_images.long().sum().item(), train_labels.sum().item()]
    return timed(read), check


KINDS = {"curve": training, "images": training, "evaluation": evaluation, "second_order": second_order, "matmul": matmul,
         "load": load}


# ---- the conversation, and whole programs ----

def peak_mb():
    """The peak of this process alone; ru_maxrss would remember the parent's from before exec."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None


def answer_requests():
    run, check = KINDS[WORKLOAD["kind"]](WORKLOAD, read_safetensors(WORKLOAD["weights"]) if "weights" in WORKLOAD else {})
    for line in sys.stdin:
        request, *arguments = line.split()
        if request == "run":
            steps, seconds = run(int(arguments[0]))
            reply = {"steps": steps, "seconds": seconds}
        elif request == "check":
            reply = {"values": check()}
        else:
            reply = {"mb": peak_mb()}
        print(json.dumps(reply), flush=True)


def train_seed(state):
    """One of the networks of the workload `seeds`: its last loss."""
    torch.set_num_threads(1)
    x, y = training_set(WORKLOAD)
    model = loaded(WORKLOAD, state)
    train(model, loss_function(WORKLOAD), x, y, WORKLOAD["batch"], WORKLOAD["steps"])
    with torch.inference_mode():
        return loss_function(WORKLOAD)(model(x), y).item()


def train_seeds():
    """All of them, in one process per core."""
    import multiprocessing
    weights = read_safetensors(WORKLOAD["weights"])
    states = [{} for _ in range(WORKLOAD["seeds"])]
    for name, tensor in weights.items():
        seed, _, rest = name.partition("/")
        states[int(seed) - 1][rest] = tensor
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        values = pool.map(train_seed, states, chunksize=1)
    print(json.dumps({"values": values, "mb": peak_mb()}))


if __name__ == "__main__":
    if WORKLOAD["kind"] != "program":
        answer_requests()
    elif WORKLOAD["task"] == "seeds":
        train_seeds()
    else:
        print(json.dumps({"values": [], "mb": peak_mb()}))
