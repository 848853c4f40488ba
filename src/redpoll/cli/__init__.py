"""The ``redpoll`` command: results on stdout, narration on stderr, ``--json`` everywhere."""
