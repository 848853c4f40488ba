"""Fakes, conformance suites and generators: public, and imported by nothing of redpoll."""
