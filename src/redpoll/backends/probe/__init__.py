"""Looks into a model file, in the model's own Python: what it is, its columns, how it could be asked.

Started by path, like :mod:`redpoll.backends.worker`: it needs the standard library and what the model
itself needs. One job as JSON on stdin, one answer as JSON on stdout; what the model prints goes to
stderr. :mod:`redpoll.backends.probing` is who asks.
"""
