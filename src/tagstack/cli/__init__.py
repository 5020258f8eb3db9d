"""The command line: one file per group of verbs; each parses, asks the service once, prints one thing."""
