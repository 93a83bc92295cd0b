#!/usr/bin/python3
"""Make tests/golden/tanh.json: the hyperbolic tangent to the last bit, from 60 decimal digits.

    tests/golden/make_tanh.py [--out DIR]
"""

import argparse
import decimal
import json
import math
import os
import random

SEED = 20261130


def tanh(x):
    with decimal.localcontext(decimal.Context(prec=60, Emin=-10000)):
        if abs(x) < 1e-20:
            return x                              # x - x^3 / 3 rounds to x
        if abs(x) > 100:
            return math.copysign(1, x)
        power = (2 * decimal.Decimal(x)).exp()
        return float((power - 1) / (power + 1))


def arguments():
    """Of all sizes; on both sides of where 2 |x| / ln 2 rounds to another integer; and where nothing but 1 is left."""
    chosen = random.Random(SEED)
    found = [math.exp(chosen.uniform(-30, 4)) for _ in range(60)] + [chosen.uniform(0, 2) for _ in range(100)]
    for n in range(8):
        edge = (n + 0.5) * math.log(2) / 2
        found += [edge, math.nextafter(edge, 0), math.nextafter(edge, 9)]
    found += [18.9, 19.1, 22.0, 22.1, 1e300, 5e-324, 2.5e-308]
    return [sign * x for x in found for sign in (1, -1)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    x = arguments()
    with open(os.path.join(parser.parse_args().out, "tanh.json"), "w") as file:
        json.dump({"x": x, "tanh": [tanh(number) for number in x]}, file, separators=(",", ":"))
        file.write("\n")


if __name__ == "__main__":
    main()
