"""Songs to label arrays and back, with no network: one representation per file, the MIDI reader, and a synthesizer."""
