"""The process that holds the indexes of large knowledge bases: builds in one thread, ranks in another."""

import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson

from knowledge_service.domain.bm25 import Bm25Ranker
from knowledge_service.domain.decisions import Asked, Decision, answer
from knowledge_service.domain.publications import unpack
from knowledge_service.domain.ranking import Hit, Ranker

NICENESS = 5
"""Those who ask small knowledge bases, in another process, go first."""


class Indexes:
    """The indexes of this process and what can be asked of them; an index nobody built is a KeyError."""

    def __init__(self) -> None:
        self._rankers: dict[str, tuple[Ranker, dict[str, int]]] = {}

    def build(self, given: Mapping[str, Any], packed: bytes) -> None:
        """Build and keep an index."""
        ranker = Bm25Ranker(unpack(packed))
        self._rankers[given["publication"]] = ranker, {each.article_id: each.version for each in ranker.articles}

    def drop(self, given: Mapping[str, Any], _blob: bytes) -> None:
        """Forget an index."""
        self._rankers.pop(given["publication"], None)

    def answer(self, given: Mapping[str, Any], _blob: bytes) -> Decision:
        """Rank and decide."""
        asked = given["asked"]
        decision = answer(self._rankers[given["publication"]][0], Asked(**asked | {"tags": tuple(asked["tags"])}))
        return replace(
            decision,
            answer=None if decision.answer is None else _short(decision.answer),
            suggestions=tuple(map(_short, decision.suggestions)),
            candidates=tuple(map(_short, decision.candidates)),
        )

    def search(self, given: Mapping[str, Any], _blob: bytes) -> list[Hit]:
        """Rank."""
        return _shortened(self._rankers[given["publication"]][0].rank(given["query"], given["limit"]))

    def versions(self, given: Mapping[str, Any], _blob: bytes) -> dict[str, int]:
        """The versions of those articles that are in an index."""
        versions = self._rankers[given["publication"]][1]
        return {each: versions[each] for each in given["articles"] if each in versions}


def _short(hit: Hit) -> Hit:
    """Without the alternatives: nobody who asks is told of them, and there may be hundreds."""
    return replace(hit, article=replace(hit.article, text=replace(hit.article.text, alternatives=())))


def _shortened(hits: Iterable[Hit]) -> list[Hit]:
    return [_short(hit) for hit in hits]


class _Replies:
    """Lines to the parent, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def send(self, reply: dict[str, Any]) -> None:
        line = orjson.dumps(reply) + b"\n"
        with self._lock:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()


def _work(replies: _Replies, number: int, operation: Callable[..., Any], given: Mapping[str, Any], blob: bytes) -> None:
    try:
        result = operation(given, blob)
    except (KeyError, MemoryError, SystemError, ValueError) as error:  # orjson makes a SystemError of a MemoryError
        replies.send({"number": number, "error": repr(error)})
    else:
        replies.send({"number": number, "result": result})


def main() -> None:
    """Answer calls until the parent is gone."""
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us, also when a terminal asks everybody
    os.nice(NICENESS)
    indexes, replies = Indexes(), _Replies()
    threads = {"build": ThreadPoolExecutor(1)}
    ranking = ThreadPoolExecutor(1)
    source = sys.stdin.buffer
    while line := source.readline():
        call = orjson.loads(line)
        blob = source.read(call["size"])
        operation = getattr(indexes, call["operation"])
        thread = threads.get(call["operation"], ranking)
        thread.submit(_work, replies, call["number"], operation, call["given"], blob)
    os._exit(0)  # whatever is being built, nobody waits for it any more


if __name__ == "__main__":
    main()
