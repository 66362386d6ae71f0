"""What the training loop in train.py is built from.

- The start: start (weights, identity, resume), run_folder, processes (that share a run).
- A step: batches (of labels to tensors), updates (loss, gradients, Adam), skipped (updates that are not finite).
- Rows: history, best (weights), stopping (interrupts, minutes), progress_bar.
- First weights of a long model from a short one: two_levels.
"""
