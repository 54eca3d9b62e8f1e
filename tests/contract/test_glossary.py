"""One word per idea: every class of a domain is named by words of the glossary, and nothing retired comes back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import snowballstemmer

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
MODULES = sorted(ROOT.glob("*/src/*/domain/*.py"))
RETIRED = {"wish", "edition", "shelf", "exchange", "figures"}
"""What people said before: submission, publication, publication cache, turn, counters."""

_stem = snowballstemmer.stemmer("english").stemWord


def explained() -> set[str]:
    """The stems of all words that the glossary explains, or names as words of shape and state."""
    terms, _, small = GLOSSARY.partition("## In class names")
    told = re.findall(r"^\| ([^|]+) \|", terms, re.MULTILINE) + re.findall(r"`(\w+)`", small)
    return {_stem(word.lower()) for term in told for word in re.findall(r"\w+", term)}


def public_classes(module: Path) -> Iterator[str]:
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def words_of(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z][a-z0-9]*", name)]


@pytest.mark.parametrize("module", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_every_class_of_a_domain_is_named_by_words_of_the_glossary(module: Path) -> None:
    known = explained()
    strange = {name: word for name in public_classes(module) for word in words_of(name) if _stem(word) not in known}

    assert strange == {}, "use a word of docs/glossary.md, or explain the new one there"


def test_a_class_with_an_unexplained_word_is_noticed(tmp_path: Path) -> None:
    module = tmp_path / "planted.py"
    module.write_text("class FrobnicatedArticle: ...\n")

    with pytest.raises(AssertionError):
        test_every_class_of_a_domain_is_named_by_words_of_the_glossary(module)


def test_retired_words_name_no_class() -> None:
    names = {name for module in MODULES for name in public_classes(module)}

    assert {name for name in names if RETIRED & set(words_of(name))} == set()


def test_a_word_is_explained_once() -> None:
    terms = re.findall(r"^\| ([^|]+) \|", GLOSSARY.partition("## In class names")[0], re.MULTILINE)

    assert len(terms) == len(set(terms))
    assert terms[2:] == sorted(terms[2:], key=str.lower)
