"""The paper's experiments: the corpus, figures and tables, rate-distortion runs, and publishing of trained models."""
