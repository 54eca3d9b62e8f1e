"""How soon a password would be guessed: by zxcvbn's estimate, which knows words, names, dates, repeats and keyboards.

zxcvbn (Wheeler, "zxcvbn: Low-Budget Password Strength Estimation", USENIX Security 2016) counts the guesses of somebody
who tries such patterns in the order of their likelihood; the Python port is by the same terms (MIT).
"""

import re
from collections.abc import Iterable, Iterator

FEWEST_GUESSES = 10**8
"""What guessing must cost: a year at three guesses a second. Eight random letters and digits are as much."""
JUDGED = 40
"""Characters that are judged: about 15 ms at most; 70 can take 50. What follows makes a password stronger only."""
PRODUCT = ("multidb", "faq", "faqbot", "chatbot")
SHORTEST_WORD = 3


def guesses(password: str, personal: Iterable[str]) -> int:
    """How many guesses it takes somebody who knows the words in `personal`, and the product's name.

    Takes some milliseconds, and a tenth of a second the first time: call it off the event loop.
    """
    from zxcvbn import zxcvbn  # its lists take 8 MiB and 100 ms, which commands need nothing of

    text = _unit(password)[:JUDGED]
    return int(zxcvbn(text, user_inputs=sorted({*PRODUCT, *words_of(personal)}))["guesses"])


def bare(password: str, personal: Iterable[str]) -> str:
    """A password without digits and punctuation, and without the words in `personal`; "" when those were all."""
    letters = left = re.sub(r"[\W\d_]+", "", password.casefold())
    for word in sorted({*PRODUCT, *words_of(personal)} - {""}, key=len, reverse=True):
        left = left.replace(word, "")
    is_nothing_left = left != letters and len(left) < SHORTEST_WORD
    return "" if is_nothing_left else left or password


def words_of(personal: Iterable[str]) -> Iterator[str]:
    """The words in names and addresses: each one, each text without what separates them, and its ends swapped."""
    for text in personal:
        words = [word for word in re.split(r"[\W_\d]+", text.casefold()) if len(word) >= SHORTEST_WORD]
        yield from words
        yield from ("".join(words), "".join(reversed(words)))


def _unit(text: str) -> str:
    """What a text repeats, twice: 256 characters of `password` are no better than 16."""
    for length in range(1, len(text) // 2 + 1):
        if text.startswith(text[length:]):
            return text[: 2 * length]
    return text
