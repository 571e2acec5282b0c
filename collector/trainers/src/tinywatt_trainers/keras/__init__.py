"""Training and optimisation in TensorFlow; deployables are `.tflite` files."""
