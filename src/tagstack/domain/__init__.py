"""The rules of image streams, pure: no I/O, no clock, no randomness, no framework."""
