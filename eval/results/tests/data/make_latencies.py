#!/usr/bin/env python3
"""Makes latencies.json: random times of runs, and their statistics as computed by NumPy.

    pip install numpy==2.4.6
    python make_latencies.py

Times are whole nanoseconds, as a clock gives them.
"""

import json
from pathlib import Path

import numpy as np


def case(random, runs):
    seconds = np.round(random.lognormal(-5, 0.4, runs), 9)
    p50, p90, p99 = np.percentile(seconds, [50, 90, 99])
    return {
        "seconds": seconds.tolist(),
        "min": seconds.min(),
        "mean": seconds.mean(),
        "std": seconds.std(),
        "p50": p50,
        "p90": p90,
        "p99": p99,
        "max": seconds.max(),
    }


random = np.random.default_rng(24)
cases = [case(random, runs) for runs in (1, 2, 3, 4, 7, 10, 11, 50, 99, 100, 101, 257)]
lines = ",\n".join(json.dumps(case) for case in cases)
Path(__file__).with_name("latencies.json").write_text(f"[\n{lines}\n]\n")
