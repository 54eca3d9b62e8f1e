"""How text becomes terms: one way for questions and articles, so that both sides always agree."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Iterator

import snowballstemmer

WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
CACHE_SIZE = 50_000

STOP_WORDS = frozenset(
    {
        *("what", "which", "who", "whom", "whose", "when", "where", "why", "how"),
        *("a", "an", "the", "this", "that", "these", "those", "some", "any", "such"),
        *("i", "me", "my", "mine", "myself", "we", "us", "our", "you", "your", "he", "she", "it", "its", "they"),
        *("them", "their", "his", "her", "one", "someone", "somebody", "something", "there", "here"),
        *("am", "is", "are", "was", "were", "be", "been", "being", "do", "does", "did", "doing", "done"),
        *("have", "has", "had", "having", "can", "could", "will", "would", "shall", "should", "may", "might", "must"),
        *("of", "to", "in", "on", "at", "by", "for", "from", "with", "as", "into", "about", "than", "per"),
        *("and", "or", "but", "if", "so", "then", "also", "too", "just", "very", "really", "please"),
        *("get", "got", "want", "need", "like", "know", "tell", "let", "say", "way", "s", "t", "m", "re", "ve", "ll"),
    }
)
"""Words that hardly say what a question is about. They keep a small weight: "what is X" is not "how do I X"."""

_stem = snowballstemmer.stemmer("english").stemWord


def normalise(text: str) -> str:
    """The text without differences that never matter: compatibility forms, case, runs of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """The words of a text in order, case-folded; an English contraction counts as its parts."""
    found: list[str] = []
    for match in WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        found.extend(re.split("['\u2019]", match))
    return found


@functools.lru_cache(CACHE_SIZE)
def stem(word: str) -> str:
    """The stem of one case-folded word; a word with a digit is its own stem."""
    return str(_stem(word)) if word.isalpha() else word


def terms(text: str) -> list[str]:
    """The stems of a text in order."""
    return [stem(word) for word in words(text)]


STOP_TERMS = frozenset(stem(word) for word in STOP_WORDS)


def has_digit(term: str) -> bool:
    """Whether a term names a number, a code or a version."""
    return any(character.isdigit() for character in term)


def edits(word: str, alphabet: str = "abcdefghijklmnopqrstuvwxyz") -> Iterator[str]:
    """Every string one slip of the finger away: a letter missing, doubled, swapped, wrong."""
    yield from swaps(word)
    for i in range(len(word) + 1):
        head, tail = word[:i], word[i:]
        if tail:
            yield head + tail[1:]
        for letter in alphabet:
            yield head + letter + tail
            if tail:
                yield head + letter + tail[1:]


def swaps(word: str) -> Iterator[str]:
    """Every string that two neighbouring letters in the wrong order could have been."""
    for i in range(len(word) - 1):
        yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def unique(values: Iterable[str]) -> list[str]:
    """The values without repeats, in order."""
    return list(dict.fromkeys(values))
