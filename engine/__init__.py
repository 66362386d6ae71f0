"""Tensor code without music.

- LSTM layers: lstm; fused_lstm, their steps on the CPU; kernels, which are compiled from lstm.cpp.
- Samples: core_steps (a decoder, step by step), single_sequence (one kernel call), cuda_graph (one launch).
- Classes and lists: classes, softmax, list_draws, bit_lists.
- Training: adam, memory, precision.
- Shared: checks (of arguments), archive (of checkpoints), masks (of lengths), rng (keyed random numbers), slerp.
"""
