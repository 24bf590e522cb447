"""How Keras is started: quietly, and so that its operations repeat exactly."""

import os
import tempfile

import util


def start_keras():
    """Import Keras with operations that repeat exactly, and start its backend.

    TensorFlow reports on stderr, as if it were a failure, that a machine has no GPU; whatever is said there
    during the start is shown only if the start fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["TF_DETERMINISTIC_OPS"] = "1"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    stderr = os.dup(2)
    with util.sigint_held(), tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            import keras

            keras.ops.zeros(1)
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
