"""Times the official Python runtime on one model, for the bench beside this file.

Usage: inference_vs_python.py MODEL THREAD_COUNT. Each line of standard input is a duration in seconds; each is answered
by one line of JSON: the median latency and the number of inferences of that long. One inference is what ours is: copying
a ready-made input in (set_tensor), invoking, copying the output out (get_tensor).
"""

from __future__ import annotations

import json
import sys
from statistics import median
from time import perf_counter_ns

import numpy as np
from ai_edge_litert.interpreter import Interpreter

INPUT_COUNT = 16


def main() -> None:
    """Runs the command line."""
    model, thread_count = sys.argv[1], int(sys.argv[2])
    interpreter = Interpreter(model_path=model, num_threads=thread_count)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    target = interpreter.get_output_details()[0]
    random = np.random.default_rng(1)
    # What is in an input changes no kernel's time; several are taken in turn so that none stays in the first cache.
    pixels = random.integers(0, 256, (INPUT_COUNT, *source["shape"]))
    if source["dtype"] != np.float32:
        pixels = pixels - 128
    inputs = list(pixels.astype(source["dtype"]))
    source_index, target_index = source["index"], target["index"]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor
    for line in sys.stdin:
        latencies_ns = []
        deadline_ns = perf_counter_ns() + int(float(line) * 1e9)
        end_ns = 0
        index = 0
        while end_ns < deadline_ns:
            values = inputs[index]
            index = (index + 1) % INPUT_COUNT
            start_ns = perf_counter_ns()
            set_tensor(source_index, values)
            invoke()
            get_tensor(target_index)
            end_ns = perf_counter_ns()
            latencies_ns.append(end_ns - start_ns)
        answer = {"median_ns": median(latencies_ns), "inference_count": len(latencies_ns)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
