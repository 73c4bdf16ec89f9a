"""What the solver calls impossible has been tried in every way; what it does not may be so."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.solve import ALWAYS, NEVER, Every, Fact, Formula, Literal, Some, Space

FULL = {"a": 0b11, "b": 0b11, "c": 0b111, "d": 0b1111}
LITERALS = st.sampled_from([*FULL]).flatmap(
    lambda name: st.builds(Literal, st.just(name), st.integers(0, FULL[name]))
)


def groups(inner: st.SearchStrategy[Formula]) -> st.SearchStrategy[Formula]:
    parts = st.lists(inner, max_size=4).map(tuple)
    return st.builds(Every, parts) | st.builds(Some, parts)


FORMULAS: st.SearchStrategy[Formula] = st.recursive(LITERALS, groups, max_leaves=14)


def holds(of: Formula, values: dict[str, int]) -> bool:
    match of:
        case Literal(variable, mask):
            return bool(values[variable] & mask)
        case Every(parts):
            return all(holds(part, values) for part in parts)
        case Some(parts):
            return any(holds(part, values) for part in parts)


def worlds() -> list[dict[str, int]]:
    bits = [[1 << at for at in range(mask.bit_length())] for mask in FULL.values()]
    return [dict(zip(FULL, values, strict=True)) for values in product(*bits)]


WORLDS = worlds()


def variables(of: Formula) -> set[str]:
    if isinstance(of, Literal):
        return {of.variable}
    return {name for part in of.parts for name in variables(part)}


@given(st.lists(FORMULAS, max_size=4), st.lists(FORMULAS, max_size=2))
def test_it_is_right_where_all_can_be_tried(formulas: list[Formula], facts: list[Formula]) -> None:
    some = any(all(holds(one, world) for one in (*formulas, *facts)) for world in WORLDS)
    everything = frozenset(FULL)
    asked = Every(tuple(Literal(name, mask) for name, mask in FULL.items()))  # about everything
    space = Space(FULL, [Fact(fact, everything) for fact in facts])
    assert space.impossible(asked, *formulas) is not some


@given(st.lists(FORMULAS, max_size=4), st.lists(FORMULAS, max_size=3))
def test_of_facts_those_that_do_not_matter_may_be_left_out(
    formulas: list[Formula], facts: list[Formula]
) -> None:
    """Then less is called impossible, and never more."""
    some = any(all(holds(one, world) for one in (*formulas, *facts)) for world in WORLDS)
    space = Space(FULL, [Fact(fact, frozenset(variables(fact))) for fact in facts])
    assert not (space.impossible(*formulas) and some)


@given(FORMULAS)
def test_a_negation_holds_where_its_formula_does_not(formula: Formula) -> None:
    opposite = Space(FULL).negation(formula)
    assert all(holds(opposite, world) is not holds(formula, world) for world in WORLDS)


def test_a_search_that_takes_too_long_says_nothing() -> None:
    """Four birds do not fit three holes; to know it takes some tries."""
    holes = {f"{bird}{hole}": 0b11 for bird in range(5) for hole in range(4)}
    formulas: list[Formula] = [
        Some(tuple(Literal(f"{bird}{hole}", 2) for hole in range(4))) for bird in range(5)
    ]
    formulas += [
        Some((Literal(f"{bird}{hole}", 1), Literal(f"{other}{hole}", 1)))
        for hole in range(4)
        for bird in range(5)
        for other in range(bird)
    ]
    assert Space(holes).impossible(*formulas, steps=1_000_000)
    assert not Space(holes).impossible(*formulas, steps=500)


def test_all_searches_together_take_no_more_steps_than_they_may() -> None:
    formulas = [Some((Literal("a", 1), Literal("b", 1))), Some((Literal("a", 1), Literal("b", 2))), Some((Literal("a", 2), Literal("b", 1))), Some((Literal("a", 2), Literal("b", 2)))]  # fmt: skip
    space = Space({"a": 3, "b": 3}, steps=40)
    found = [space.impossible(*formulas) for _ in range(9)]
    assert found[0]
    assert not found[-1]


def test_what_is_tried_in_vain_may_be_more_than_one_literal() -> None:
    """Three birds in two holes, each with a ring that is no other's there."""
    names = [f"{kind}{bird}{hole}" for kind in "br" for bird in range(3) for hole in range(2)]
    formulas: list[Formula] = [
        Some(
            tuple(
                Every((Literal(f"b{bird}{hole}", 2), Literal(f"r{bird}{hole}", 2)))
                for hole in range(2)
            )
        )
        for bird in range(3)
    ]
    pairs: list[Formula] = [
        Some((Literal(f"{kind}{bird}{hole}", 1), Literal(f"{kind}{other}{hole}", 1)))
        for kind in "br"
        for hole in range(2)
        for bird in range(3)
        for other in range(bird)
    ]
    space = Space(dict.fromkeys(names, 0b11))
    assert space.impossible(*pairs, *formulas)
    assert not space.impossible(*pairs, *formulas[:2])


@pytest.mark.parametrize(("formula", "impossible"), [(ALWAYS, False), (NEVER, True)])
def test_of_nothing(formula: Formula, impossible: bool) -> None:
    assert Space({}).impossible(formula) is impossible
    assert not Space({}).impossible()


def test_many_rules_that_share_a_number_are_settled_in_few_steps() -> None:
    full = {"size": (1 << 201) - 1} | {f"word {n}": 0b11 for n in range(200)}
    space = Space(full)
    before = [
        space.negation(Every((Literal(f"word {n}", 2), Literal("size", (1 << (n + 1)) - 1))))
        for n in range(200)
    ]
    assert not space.impossible(*before, Literal("size", 1 << 200), steps=3_000)
    assert space.impossible(*before, Literal("word 7", 2), Literal("size", 1), steps=3_000)
