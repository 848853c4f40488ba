"""The process that answers for one version of a model, on a Unix socket.

It runs in the *model's own* Python, where redpoll is not installed: standard library and numpy only
(pandas where a scikit-learn pipeline picks its columns by name), and nothing newer than Python 3.9.
Start it by path: ``python …/redpoll/backends/worker/__main__.py --spec FILE --socket PATH``.
"""
