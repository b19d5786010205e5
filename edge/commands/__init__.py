"""Commands of `shelfgate` that run on the device; loaded when called."""
