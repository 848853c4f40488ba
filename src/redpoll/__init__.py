"""redpoll keeps a journal of facts and a catalog of intentions; everything you see is a view.

The first under the second: requests, answers, outcomes and decisions are facts that are only ever
appended; models, versions and plans are intentions that people change.
"""

__version__ = "0.1.0"
