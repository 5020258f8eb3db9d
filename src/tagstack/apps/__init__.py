"""Wiring only: settings in, running processes and command-line verbs out."""
