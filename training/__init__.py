"""What the training loop in train.py is made of: batches, the start of a run, and the processes that share it."""
