"""Tools for musicians: clips, their command and web pages.

- Clips: clip_tools (reconstruct, interpolate, groove ...), compose (new music: sample, continue, compose), near (vary,
  personalize), directions (latent attributes).
- The command: tools (what each makes), command (its options and files), advice (its hints).
- Web pages: pages (what each shows), write (their HTML), nearest (the song most like a piece).
"""
