"""What the training loop in train.py is built from: batches, the start of a run, its history, and shared processes."""
