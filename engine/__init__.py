"""Tensors only, no music: LSTM layers, their compiled kernels, and random numbers that follow a key."""
