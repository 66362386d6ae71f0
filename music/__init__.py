"""Songs to label arrays and back, without networks. The modules in the order in which a song passes through them:

- Read: midi_file, with midi_bytes (events), midi_repair (faults), midi_ticks (time) and midi_song (a PrettyMIDI).
- Prepare: intake (drum tracks, drum maps, pairs of bars), options (of the commands), swing (to straight time).
- Cut: grid (parts of one tempo and metre, lines of labels, windows).
- Label: converter (the interface), labels (their numbers); melody, drums, trio, groove, piano, multitrack; pedal,
  performance.
- Chords: chords (symbols and classes), harmony (the chords of a part).
- Folders: song_reader (processes), song_cache (on disk), song_report (what became of each file).
- Clips: clips, clip_chords, of any number of bars.
- Write: midi_output, soundfont (a synthesizer).
- Measure: attributes, piano_measures.
"""
