"""File formats of Magenta's models: one file per format, and variables.py, which they share."""
