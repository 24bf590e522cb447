"""How fast our networks are beside one of the literature that is made to be fast: megapixels of output a CPU second.

    python3 -m wi2_paper.benchmarks.peer    # a minute on one CPU core; writes results/benchmark_peer.json

The peer is the compact network of Real-ESRGAN (Wang et al., ICCVW 2021): 16 convolutions of 64 channels at the size of
the small image, a pixel shuffle of 4 at the end, 621,424 parameters. Ours see the image enlarged, as always, and those
of `NAMES` work at a half and at a quarter of its sides. All have random weights, which take the same time, and run in
ONNX Runtime on one core, in turns, without reading, blocks and writing. Expect the halved network to be no more than
twice as slow as the peer.
"""

import sys
import time
from pathlib import Path

import numpy as np

import util
from inception2_module import provenance
from inception2_module.experiments import NETWORKS

NAMES = ("inception_unet_halved", "edsr_8")
SIDE, SCALE, N_ROUNDS = 512, 4, 5


def main():
    from inception2_module import networks, onnxgraph

    graphs = {"peer": compact(), **{name: onnxgraph.build(networks.build_model(name, dropout=0.0)) for name in NAMES}}
    sessions = {name: open_session(graph) for name, graph in graphs.items()}
    rng = np.random.default_rng(0)
    images = {name: rng.random((1, side, side, 3), np.float32)
              for name in graphs for side in [SIDE // SCALE if name == "peer" else SIDE]}
    seconds = {name: [] for name in graphs}
    for _ in range(1 + N_ROUNDS):
        for name, session in sessions.items():
            began = time.process_time()
            session.run(None, {"degraded": images[name]})
            seconds[name].append(time.process_time() - began)
    speed = {name: round(SIDE**2 / 1e6 / min(values[1:]), 3) for name, values in seconds.items()}
    for name, value in speed.items():
        print(f"{name:<28}{value:>8.3f} megapixels a CPU second, {value / speed['peer']:.2f} times the peer")
    util.write_json(Path("results") / "benchmark_peer.json", {
        "output": [SIDE, SIDE, 3], "scale": SCALE, "n_rounds": N_ROUNDS, "megapixels_per_cpu_second": speed,
        "n_parameters": {"peer": count_parameters(graphs["peer"])} | {
            name: NETWORKS[name].n_parameters for name in NAMES}, "cpu": provenance.cpu(),
        "versions": provenance.versions(("numpy", "onnxruntime")), "git_commit": provenance.git_commit(),
    })


def compact(width=64, n_convolutions=16):
    """Return the compact network with random weights: onnx.ModelProto, (N, h, w, 3) -> (N, 4 h, 4 w, 3)."""
    from inception2_module.onnxgraph import Graph

    graph, rng = Graph(), np.random.default_rng(0)

    def convolution(x, name, n_in, n_out):
        kernel = rng.normal(0, (2 / (9 * n_in)) ** 0.5, (n_out, n_in, 3, 3)).astype(np.float32)
        parameters = [graph.value(f"{name}:kernel", kernel), graph.value(f"{name}:bias", np.zeros(n_out, np.float32))]
        return graph.add("Conv", [x, *parameters], name, kernel_shape=[3, 3], auto_pad="SAME_UPPER")

    x = small = graph.add("Transpose", ["degraded"], "small", perm=[0, 3, 1, 2])
    for i in range(1 + n_convolutions):
        x = convolution(x, f"hidden{i}", width if i else 3, width)
        slope = graph.value(f"hidden{i}:slope", np.full((width, 1, 1), 0.1, np.float32))
        x = graph.add("PRelu", [x, slope], f"hidden{i}:active")
    x = graph.add("DepthToSpace", [convolution(x, "last", width, 3 * SCALE**2)], "laid_out", blocksize=SCALE)
    scales = graph.value("scales", np.array([1, 1, SCALE, SCALE], np.float32))
    enlarged = graph.add("Resize", [small, "", scales], "enlarged", mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric")
    graph.add("Transpose", [graph.add("Add", [x, enlarged], "sum")], "restored", perm=[0, 2, 3, 1])
    return graph.made("compact", (f"{SCALE}*h", f"{SCALE}*w"))


def open_session(graph):
    """Open a graph for one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def count_parameters(graph):
    """Return how many numbers the layers of a graph are made of."""
    return int(sum(np.prod(value.dims) for value in graph.graph.initializer if value.name != "scales"))


if __name__ == "__main__":
    sys.exit(util.run_cli(util.without_options(main, __doc__)))
