"""The on-device process: frames in, cart lines out."""
