#!/usr/bin/python3
"""Time PyTorch on the workloads that plumb's benchmarks run.

    tests/bench/peer_torch.py WORKLOAD [--threads N|N+M|best] [--steps N]

Prints one line of JSON: workload, threads, seconds_per_step (the median of five repeats), repeats (all five),
steps (per repeat), peak_rss_mb and the version of torch.

PyTorch's own loops (OpenMP) and OpenBLAS keep separate thread pools. `--threads N` gives N to both, `--threads N+M`
gives N to PyTorch and M to OpenBLAS. `--threads best`, the default, runs the workload in fresh processes at 1, 2 and
1+2, reports the fastest and keeps all three times under `tried`. 1+2 matters: at 2 the OpenMP threads go on spinning
after their loop and take the processors from OpenBLAS, which can make 2 slower than 1 where 1+2 is the fastest.

A step is a whole training step in plain PyTorch, float32: take the batch, forward, loss, zero_grad, backward, Adam.
Nothing reads the loss back. The import workload times `python3 -c "import torch"` from start to exit.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

REPEATS = 5
SETTINGS_TRIED = ("1", "2", "1+2")   # by --threads best
SECONDS_PER_REPEAT = 0.5   # what --steps aims at when it is not given
WARM_UP_SECONDS = 0.3

CURVES = {   # name: (layer sizes, points in the data set, batch)
    "deep300": ([1, 5, 10, 10, 10, 10, 10, 5, 1], 300, 300),
    "middle300": ([1, 10, 18, 15, 4, 1], 300, 300),
    "shallow300": ([1, 190, 1], 300, 300),
    "deep128": ([1, 5, 10, 10, 10, 10, 10, 5, 1], 10000, 128),
}
CLASSIFIERS = {   # name: (hidden width, batch)
    "mlp64": (512, 64),
    "mlp100": (512, 100),
    "mlp1000": (512, 1000),
    "width50": (50, 600),
    "width2000": (2000, 600),
}
CONVOLUTIONAL = {   # name: (network, batch)
    "simple64": ("simple", 64), "simple600": ("simple", 600),
    "advanced64": ("advanced", 64), "advanced600": ("advanced", 600),
}
SECOND_ORDER = ("gradient_norm", "hessian", "hvp", "mlp_gradient", "mlp_hvp")
WORKLOADS = [*CURVES, *CLASSIFIERS, *CONVOLUTIONAL, *SECOND_ORDER, "import"]
IMAGES, PIXELS, CLASSES = 60000, 784, 10   # the shape of MNIST's training set


def curve_step(torch, sizes, points, batch):
    """One Adam step per call on sign(sin(5 pi x)), walking through a data set that was shuffled once."""
    layers = []
    for inputs, outputs in zip(sizes[:-1], sizes[1:]):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.LeakyReLU(0.01)]
    model = torch.nn.Sequential(*layers[:-1])
    x = torch.linspace(1e-4, 1, points)[torch.randperm(points)].reshape(-1, 1)
    y = torch.sign(torch.sin(5 * torch.pi * x))
    return training_step(torch, model, torch.nn.MSELoss(), x, y, batch)


def classifier_step(torch, width, batch):
    """One Adam step per call of PIXELS-width-CLASSES with ReLU on random data of MNIST's shape."""
    model = torch.nn.Sequential(torch.nn.Linear(PIXELS, width), torch.nn.ReLU(), torch.nn.Linear(width, CLASSES))
    x = torch.rand(IMAGES, PIXELS)
    y = torch.randint(CLASSES, (IMAGES,))
    return training_step(torch, model, torch.nn.CrossEntropyLoss(), x, y, batch)


def convolutional_step(torch, network, batch):
    """One Adam step per call of the networks of scripts/train_cnn.lua on random images of MNIST's shape."""
    nn = torch.nn
    layers, sizes = [], [1, 32, 64] if network == "simple" else [1, 32, 64, 128]
    for inputs, outputs in zip(sizes[:-1], sizes[1:]):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    if network == "simple":
        layers += [nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, CLASSES)]
    else:
        layers += [nn.Flatten(), nn.Dropout(0.25), nn.Linear(1152, 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, CLASSES)]
    x = torch.randint(256, (IMAGES, 1, 28, 28), dtype=torch.uint8)
    y = torch.randint(CLASSES, (IMAGES,))
    return training_step(torch, nn.Sequential(*layers), nn.CrossEntropyLoss(), x, y, batch)


def training_step(torch, model, criterion, x, y, batch):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = len(x) // batch
    taken = 0

    def step():
        nonlocal taken
        first = taken % batches * batch
        taken += 1
        inputs = x[first:first + batch]
        if inputs.dtype == torch.uint8:
            inputs = inputs.float() / 255
        loss = criterion(model(inputs), y[first:first + batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def second_order_step(torch, workload):
    """One Adam step on |grad L|^2 / 2, a dense Hessian with its eigenvalues, a product with the Hessian, or a gradient: of
    1-10-10-1 with tanh on 256 points in float64, or (mlp_) of the classifier on a batch of 64 in float32."""
    if workload.startswith("mlp_"):
        model = torch.nn.Sequential(torch.nn.Linear(PIXELS, 512), torch.nn.ReLU(), torch.nn.Linear(512, CLASSES))
        criterion, x, y = torch.nn.CrossEntropyLoss(), torch.rand(64, PIXELS), torch.randint(CLASSES, (64,))
    else:
        layers = [torch.nn.Linear(1, 10), torch.nn.Tanh(), torch.nn.Linear(10, 10), torch.nn.Tanh(), torch.nn.Linear(10, 1)]
        model = torch.nn.Sequential(*layers).double()
        x = torch.linspace(1e-4, 1, 256, dtype=torch.float64).reshape(-1, 1)
        criterion, y = torch.nn.MSELoss(), torch.sign(torch.sin(5 * torch.pi * x))
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-4)
    directions = [torch.randn_like(parameter) for parameter in parameters]

    def gradient_norm():
        gradients = torch.autograd.grad(criterion(model(x), y), parameters, create_graph=True)
        square = sum(gradient.square().sum() for gradient in gradients) / 2
        optimizer.zero_grad()
        square.backward()
        optimizer.step()

    def gradient():
        torch.autograd.grad(criterion(model(x), y), parameters)

    def hvp():
        gradients = torch.autograd.grad(criterion(model(x), y), parameters, create_graph=True)
        torch.autograd.grad(gradients, parameters, grad_outputs=directions)

    def hessian():
        """Row by row through the graph of the gradient."""
        gradients = torch.autograd.grad(criterion(model(x), y), parameters, create_graph=True)
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        rows = [torch.cat([row.reshape(-1) for row in torch.autograd.grad(element, parameters, retain_graph=True)])
                for element in flat]
        torch.linalg.eigvalsh(torch.stack(rows))

    return {"gradient_norm": gradient_norm, "hessian": hessian, "hvp": hvp, "mlp_gradient": gradient, "mlp_hvp": hvp}[workload]


def time_steps(step, count):
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def steps_for_a_repeat(step):
    """Warm up, then return how many steps fill SECONDS_PER_REPEAT."""
    start = time.perf_counter()
    while time.perf_counter() - start < WARM_UP_SECONDS:
        step()
    return max(3, round(SECONDS_PER_REPEAT / time_steps(step, 3)))


def peak_rss_mb():
    """The peak of this process alone; ru_maxrss would remember the parent's from before exec."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    return None


def measure(workload, threads, steps):
    torch_threads, blas_threads = threads
    # torch.set_num_threads does not reach OpenBLAS, which must be told before the import.
    os.environ["OMP_NUM_THREADS"] = str(torch_threads)
    os.environ["OPENBLAS_NUM_THREADS"] = str(blas_threads)
    import torch
    torch.set_num_threads(torch_threads)
    torch.manual_seed(1)
    if workload in CURVES:
        step = curve_step(torch, *CURVES[workload])
    elif workload in CONVOLUTIONAL:
        step = convolutional_step(torch, *CONVOLUTIONAL[workload])
    elif workload in CLASSIFIERS:
        step = classifier_step(torch, *CLASSIFIERS[workload])
    else:
        step = second_order_step(torch, workload)
    steps_that_fit = steps_for_a_repeat(step)
    steps = steps or steps_that_fit
    repeats = [time_steps(step, steps) for _ in range(REPEATS)]
    return {"workload": workload, "threads": max(threads), "torch_threads": torch_threads,
            "blas_threads": blas_threads, "seconds_per_step": statistics.median(repeats),
            "repeats": repeats, "steps": steps, "peak_rss_mb": peak_rss_mb(), "torch": torch.__version__}


def measure_best(workload, steps):
    results = {}
    for threads in SETTINGS_TRIED:
        command = [sys.executable, os.path.abspath(__file__), workload, "--threads", threads]
        if steps:
            command += ["--steps", str(steps)]
        results[threads] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    best = min(results.values(), key=lambda result: result["seconds_per_step"])
    best["tried"] = {threads: result["seconds_per_step"] for threads, result in results.items()}
    return best


def measure_import():
    """The whole process, as a user waits for it; one run before the five brings the files into the page cache."""
    program = ("import torch; status = open('/proc/self/status').read();"
               "print(status.split('VmHWM:')[1].split()[0], torch.__version__)")
    repeats, peaks = [], []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        output = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True).stdout
        repeats.append(time.perf_counter() - start)
        kilobytes, version = output.split()
        peaks.append(int(kilobytes) / 1024)
    return {"workload": "import", "threads": None, "seconds_per_step": statistics.median(repeats[1:]),
            "repeats": repeats[1:], "steps": 1, "peak_rss_mb": round(max(peaks), 1), "torch": version}


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def thread_setting(text):
    """"best", or the pair (threads of PyTorch's loops, threads of OpenBLAS)."""
    if text == "best":
        return text
    torch_threads, _, blas_threads = text.partition("+")
    return positive(torch_threads), positive(blas_threads or torch_threads)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", choices=WORKLOADS, metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--threads", type=thread_setting, default="best", metavar="N",
                        help="threads of PyTorch and OpenBLAS, as 2 or 1+2, or best (the default)")
    parser.add_argument("--steps", type=positive, metavar="N", help="steps per repeat (default: about half a second)")
    options = parser.parse_args()
    if options.workload == "import":
        result = measure_import()
    elif options.threads == "best":
        result = measure_best(options.workload, options.steps)
    else:
        result = measure(options.workload, options.threads, options.steps)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
