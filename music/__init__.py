"""Songs to label arrays and back, without networks. The modules in the order of the data's way:

- Read: midi_file: midi_repair (midi_bytes reads events), midi_ticks, midi_song, which makes a PrettyMIDI.
- Prepare: intake (which tracks are drums, drum maps), swing (to straight time).
- Cut: grid: a song's parts of one tempo and metre, the lines of their labels, windows of these.
- Label: converter (the interface); melody, drums, trio, groove, piano (pedal), multitrack (performance); labels.
- Chords: chords (symbols and classes), harmony (the chords of a part).
- Folders: song_reader (processes), song_cache (on disk).
- Clips: clips, clip_chords, of any number of bars.
- Write: midi_output, soundfont (a synthesizer).
- Measure: attributes, piano_measures.
"""
