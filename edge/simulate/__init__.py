"""A store that renders itself, with exact truth."""
