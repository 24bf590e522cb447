"""The one door to Keras: whoever needs it says `from inception2_module.backend import keras`.

It is started quietly, and so that its operations repeat exactly. TensorFlow reports on stderr, as if it were a failure,
that a machine has no GPU; whatever is said there during the start is shown only if the start fails.
"""

import os
import tempfile

import util

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_DETERMINISTIC_OPS"] = "1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
_stderr = os.dup(2)
with util.loading(_stderr), tempfile.TemporaryFile() as messages:
    os.dup2(messages.fileno(), 2)
    try:
        import keras

        keras.ops.zeros(1)
    except BaseException:
        messages.seek(0)
        os.write(_stderr, messages.read())
        raise
    finally:
        os.dup2(_stderr, 2)
        os.close(_stderr)

layers, ops = keras.layers, keras.ops
