"""The one door to Keras: whoever needs it says `from inception2_module.backend import keras`.

It is started quietly, and so that its operations repeat exactly. TensorFlow reports on stderr, as if it were a failure,
that a machine has no GPU; whatever is said there during the start is shown only if the start fails.
"""

import logging
import os
import tempfile
from pathlib import Path

import util
from inception2_module import provenance

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# TensorFlow uses oneDNN by itself only where the processor has AVX-512 VNNI or the like, and is slower without
# (wi2_paper/benchmarks/library.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["TF_DETERMINISTIC_OPS"] = "1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
with (
    tempfile.TemporaryFile() as messages,
    util.stderr_sent_to(messages) as _stderr,
    util.loading(_stderr),
):
    try:
        import keras

        keras.ops.zeros(1)
    except BaseException:
        messages.seek(0)
        os.write(_stderr, messages.read())
        raise

# Where several networks run one after the other TensorFlow warns that the graph of each is made anew.
logging.getLogger("tensorflow").setLevel(logging.ERROR)
layers, ops = keras.layers, keras.ops
PROCESSOR = Path("/proc/cpuinfo")  # of Linux


def describe():
    """Describe the present machine and programs, see `provenance.describe`."""
    return provenance.describe(keras.backend.backend(), keras.distribution.list_devices())


def has_bfloat16():
    """Whether bfloat16 is computed by the machine itself; True also where nothing tells."""
    if any("cpu" not in device.lower() for device in keras.distribution.list_devices()):
        return True
    flags = PROCESSOR.read_text() if PROCESSOR.exists() else ""
    return not flags or any(flag in flags.split() for flag in ("avx512_bf16", "amx_bf16", "bf16"))
