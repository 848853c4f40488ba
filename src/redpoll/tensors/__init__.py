"""Tensors of the Open Inference Protocol (V2, JSON), and columns and rows made of them.

One tensor is one column of shape ``[n]`` (``[n, 1]`` is taken), unless a model declares a matrix.
Pure Python: the gateway reads every request with this and does not know numpy.
"""
