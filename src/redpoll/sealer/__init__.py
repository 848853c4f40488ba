"""The sealer: a process that turns finished write-ahead files into the open prediction log."""
