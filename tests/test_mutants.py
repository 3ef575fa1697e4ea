"""Every mutant still changes the code that there is, and names tests that are there; `make mutants` runs them."""

from __future__ import annotations

import re

import pytest

from tests.mutants import ROOT, Mutant
from tests.mutants.obscure_failures import OBSCURE_FAILURES
from tests.mutants.wrong_numbers import WRONG_NUMBERS

MUTANTS = [*WRONG_NUMBERS, *OBSCURE_FAILURES]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.words for mutant in MUTANTS])
def test_a_mutant_applies_and_its_tests_are_there(mutant: Mutant) -> None:
    compile(mutant.applied(), mutant.file, "exec")
    assert mutant.old != mutant.new
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert re.search(rf"^def {name.partition('[')[0]}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE)


def test_each_is_named_once() -> None:
    assert len({mutant.words for mutant in MUTANTS}) == len(MUTANTS)


def test_a_text_that_does_not_stand_there_once_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pyproject.toml has the text of 'some words' 0 times, expected once: 'none"):
        Mutant("some words", "pyproject.toml", "none such", "", ("test_docs.py",)).applied()
