"""Training and optimisation in TensorFlow; deployables are `.tflite` files."""

import os

# TensorFlow's remarks on how it was built: of a job that fails they would hide the reason. Warnings still come.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
