"""Tools for musicians: clips, their command and web pages.

- Clips: clip_tools (interpolate, vary, continue ...), near (nearest training songs), directions (latent attributes).
- The command: command (its options), write (the files), nearest.
- Web pages: pages (what each shows), with page.html, style.css and their scripts.
"""
