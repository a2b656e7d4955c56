"""What a mutant may change: mutmut's operators for decisions, and some of our own for effects.

mutmut's mutations of texts and of arguments are left out: wording is not a promise, and a missing
or ``None`` argument is found by the type checker. Ours stand for the faults that were found by hand
and that mutmut does not know: a dropped call (``left``, ``discard``), a dropped assignment to a
field, a dropped guard, a dropped ``shield``, ``min`` for ``max``.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import libcst as cst
import libcst.matchers as m
from mutmut.mutation import file_mutation, mutators
from mutmut.mutation.file_mutation import Mutation, MutationVisitor
from mutmut.runners.harness import PytestRunner
from mutmut.state import state

TWINS = {"min": "max", "max": "min", "any": "all", "all": "any"}
LOGS = m.Call(func=m.Attribute(value=m.Name(value=m.MatchRegex(r"_?log(ger)?"))))
TEXT = m.SimpleString() | m.ConcatenatedString() | m.FormattedString()
FIELD = m.Attribute() | m.Subscript()
NEVER = m.Call(func=m.Name("assert_never"))
FALSE, TRUE = cst.Name("False"), cst.Name("True")


def _and_not(test: cst.BaseExpression) -> cst.BaseExpression:
    """A test that is made, for a name it may bind, and never passed."""
    inner = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return cst.BooleanOperation(left=inner, operator=cst.And(), right=FALSE)


def drop_statement(node: cst.Expr) -> Iterable[cst.Pass]:
    if not m.matches(node.value, TEXT | m.Ellipsis() | LOGS | m.Await(LOGS) | NEVER):
        yield cst.Pass()


def drop_deletion(node: cst.Del) -> Iterable[cst.Pass]:
    yield cst.Pass()


def drop_assignment(node: cst.Assign | cst.AnnAssign | cst.AugAssign) -> Iterable[cst.Pass]:
    """Only of a field or an item: without its local name a function would not run at all."""
    target = node.targets[0].target if isinstance(node, cst.Assign) else node.target
    if node.value is not None and m.matches(target, FIELD):
        yield cst.Pass()


def drop_guard(node: cst.If) -> Iterable[cst.If]:
    yield node.with_changes(test=_and_not(node.test))


def drop_filter(node: cst.CompIf) -> Iterable[cst.CompIf]:
    yield node.with_changes(test=TRUE)


def drop_shield(node: cst.Call) -> Iterable[cst.BaseExpression]:
    if m.matches(node.func, m.Attribute(attr=m.Name("shield")) | m.Name("shield")) and node.args:
        yield node.args[0].value


def drop_option(node: cst.Call) -> Iterable[cst.Call]:
    """An argument given by name may have a default; one by place seldom has."""
    if m.matches(node, LOGS):
        return
    for i, argument in enumerate(node.args):
        if argument.keyword is not None:
            yield node.with_changes(args=[*node.args[:i], *node.args[i + 1 :]])


def swap_twins(node: cst.Call) -> Iterable[cst.Call]:
    if isinstance(node.func, cst.Name) and node.func.value in TWINS:
        yield node.with_changes(func=cst.Name(TWINS[node.func.value]))


def drop_case(node: cst.Match) -> Iterable[cst.Match]:
    """Any but the one the type checker proves to be unreachable."""
    for i, case in enumerate(node.cases):
        if len(node.cases) > 1 and not m.findall(case, NEVER):
            yield node.with_changes(cases=[*node.cases[:i], *node.cases[i + 1 :]])


OPERATORS: Sequence[tuple[type, Callable[[Any], Iterable[cst.CSTNode]]]] = [
    (cst.BaseNumber, mutators.operator_number),
    (cst.Name, mutators.operator_name),
    (cst.AugAssign, mutators.operator_augmented_assignment),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.Call, mutators.operator_symmetric_string_methods_swap),
    (cst.Call, mutators.operator_unsymmetrical_string_methods_swap),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.Expr, drop_statement),
    (cst.Del, drop_deletion),
    (cst.Assign, drop_assignment),
    (cst.AnnAssign, drop_assignment),
    (cst.AugAssign, drop_assignment),
    (cst.If, drop_guard),
    (cst.CompIf, drop_filter),
    (cst.Call, drop_shield),
    (cst.Call, drop_option),
    (cst.Call, swap_twins),
    (cst.Match, drop_case),
]

KEPT_DECORATORS = {"staticmethod", "classmethod"}
TRANSPARENT = {"property", "contextmanager", "asynccontextmanager", "override"}
"""Decorators that take a function as it is: the trampoline can stand below them."""


def _decorators(function: cst.FunctionDef) -> list[str]:
    return [cst.Module([]).code_for_node(d.decorator).split(".")[-1] for d in function.decorators]


def install() -> None:
    """Makes mutmut use these operators, and mutate properties and context managers too."""
    skips = MutationVisitor._skip_node_and_children
    arrange = file_mutation.function_trampoline_arrangement
    runs = PytestRunner.run_tests

    def skip(self: MutationVisitor, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and set(_decorators(node)) <= TRANSPARENT:
            node = node.with_changes(decorators=[])
        if m.matches(node, LOGS):
            return True
        return skips(self, node)

    def arrangement(
        function: cst.FunctionDef, mutants: Iterable[Mutation], class_name: str | None
    ) -> Any:
        before, nodes, after, names = arrange(function, mutants, class_name)
        if not KEPT_DECORATORS & set(_decorators(function)):
            # The trampoline, which comes first, keeps them; it calls the copies as plain functions.
            nodes = [nodes[0], *(n.with_changes(decorators=[]) for n in nodes[1:])]
        return before, nodes, after, names

    def run_tests(self: PytestRunner, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        # The quickest first: the first failure is the end, and most mutants fail somewhere early.
        durations = state().duration_by_test
        return runs(self, mutant_name=mutant_name, tests=sorted(tests, key=durations.__getitem__))

    file_mutation.mutation_operators = OPERATORS
    file_mutation.function_trampoline_arrangement = arrangement
    MutationVisitor._skip_node_and_children = skip
    PytestRunner.run_tests = run_tests
