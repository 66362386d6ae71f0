"""Tensor code without music: LSTM layers and their compiled kernels, CUDA graphs, Adam, keyed random numbers."""
