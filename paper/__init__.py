"""The paper's experiments: the corpus's manifest, tables and figures, rate and distortion, and publishing models."""
