"""``redpoll demo``: the whole way on real data, with models really trained, in real processes."""
