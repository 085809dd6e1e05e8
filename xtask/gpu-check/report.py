"""What the parts share: rows of the report, and measuring."""

import json
import statistics
import time

import torch


def row(check, value, unit="", bar="", passed=None):
    """Prints a row. `passed` is `None` for a figure without a bar."""
    print(json.dumps({"check": check, "value": value, "unit": unit, "bar": bar, "passed": passed}), flush=True)


def at_most(check, value, limit, unit=""):
    row(check, value, unit, f"<= {limit:g}", bool(value <= limit))


def at_least(check, value, limit, unit=""):
    row(check, value, unit, f">= {limit:g}", bool(value >= limit))


def synchronize(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def microseconds(function, device, calls=100, repeats=15, before=None):
    """Median time of a call, among `repeats` blocks of `calls`. `before` is called before each block, not timed."""
    for _ in range(3):
        function()
    times = []
    for _ in range(repeats):
        if before:
            before()
        synchronize(device)
        if device.startswith("cuda"):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(calls):
                function()
            end.record()
            end.synchronize()
            times.append(1000 * start.elapsed_time(end) / calls)
        else:
            begin = time.perf_counter()
            for _ in range(calls):
                function()
            times.append((time.perf_counter() - begin) / calls * 1e6)
    return statistics.median(times)


def graph_of(function):
    """A function that replays the work of `function`, captured as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay
