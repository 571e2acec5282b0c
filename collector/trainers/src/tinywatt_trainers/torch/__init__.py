"""Trains and optimises with PyTorch.

`trainer` is the way in. `model` builds a network, `training` teaches it, `checkpoint` keeps it, `torchscript` and
`pte` write what devices run, `quantise` and `prune` make it smaller.
"""
