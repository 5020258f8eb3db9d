"""What the processes do with the rules: handle commands, answer queries, fold the log."""
