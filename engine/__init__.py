"""Tensor code without music.

- LSTM layers: lstm; on the CPU fused_lstm, by the compiled kernels of kernels (lstm.cpp).
- Single steps of a decoder: core_steps; roll_out (one kernel for all steps), cuda_graph (one launch).
- Classes and lists: softmax, list_draws, bit_lists, masks.
- Training: adam, memory, precision.
- Of all: checks (of arguments), rng (keyed random numbers), slerp.
"""
