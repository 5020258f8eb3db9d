"""`tagstack bench`: how fast this machine is, each figure beside a raw baseline of the same run."""
