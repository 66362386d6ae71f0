"""Magenta's files: variables as TensorFlow names them, TensorFlow checkpoints, and magenta.js folders."""
