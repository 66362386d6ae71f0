"""The paper's experiments: measurements, the corpus's manifest, tables and figures, and publishing models."""
