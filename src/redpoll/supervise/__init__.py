"""``redpoll serve``: one process that owns the sockets and keeps all the others alive."""
