"""GraphQL without a schema: the query is parsed, then walked over dicts and callables.

A resolver is a plain value, or a callable that takes the field's arguments as one dict. Nothing is
validated, so a newer client that asks for a new leaf gets null rather than a refusal.
"""

from collections import Counter
from collections.abc import Iterable

from graphql import DocumentNode, Undefined, value_from_ast_untyped
from graphql.language import ast


class Refused(Exception):
    """A GraphQL error that the server means to give; status is that of the HTTP response."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


def connection(nodes: Iterable[dict], arguments: dict) -> dict:
    """One page of a relay connection; the cursor is the number of nodes before it."""
    nodes = list(nodes)
    start = int(arguments.get("after") or 0)
    stop = min(start + (arguments.get("first") or len(nodes)), len(nodes))
    page = {"__typename": "PageInfo", "endCursor": str(stop), "hasNextPage": stop < len(nodes)}
    edges = [
        {"node": node, "cursor": str(number), "version": node.get("version")}
        for number, node in enumerate(nodes[start:stop], start + 1)
    ]
    return {"totalCount": len(nodes), "edges": edges, "pageInfo": page}


class Execution:
    """One operation, to be walked over the values of its root fields."""

    def __init__(self, document: DocumentNode, variables: dict, unknown_leaves: Counter) -> None:
        parts = document.definitions
        (self.operation,) = (d for d in parts if isinstance(d, ast.OperationDefinitionNode))
        self.fragments = {
            d.name.value: d for d in parts if isinstance(d, ast.FragmentDefinitionNode)
        }
        self.unknown_leaves = unknown_leaves
        self.variables = dict(variables)
        for definition in self.operation.variable_definitions or ():
            if definition.default_value is not None:
                default = value_from_ast_untyped(definition.default_value)
                self.variables.setdefault(definition.variable.name.value, default)

    def fields(self, parent: ast.Node, typename: str | None = None) -> Iterable[ast.FieldNode]:
        """The fields asked for, with fragments opened and @include and @skip obeyed."""
        for selection in parent.selection_set.selections:
            if not self._is_included(selection):
                continue
            if isinstance(selection, ast.FieldNode):
                yield selection
            elif isinstance(selection, ast.FragmentSpreadNode):
                yield from self.fields(self.fragments[selection.name.value], typename)
            elif typename in (None, selection.type_condition.name.value):
                yield from self.fields(selection, typename)

    def complete(self, field: ast.FieldNode, value: object) -> object:
        """What the response holds for a field with this value."""
        if callable(value):
            value = value(self._values(field.arguments))
        if isinstance(value, list | tuple):
            return [self.complete(field, item) for item in value]
        if field.selection_set is None or value is None:
            return value
        result: dict = {}
        for child in self.fields(field, value.get("__typename")):
            name = child.name.value
            if name not in value:
                self.unknown_leaves[f"{field.name.value}.{name}"] += 1
            answer = self.complete(child, value.get(name))
            key = (child.alias or child.name).value
            if isinstance(answer, dict) and isinstance(result.get(key), dict):
                answer = {**result[key], **answer}  # two fragments asked for parts of it
            result[key] = answer
        return result

    def _is_included(self, selection: ast.SelectionNode) -> bool:
        return all(
            self._values(directive.arguments)["if"] == (directive.name.value == "include")
            for directive in selection.directives or ()
        )

    def _values(self, arguments: Iterable[ast.ArgumentNode] | None) -> dict:
        """Arguments with variables filled in; those not given are left out."""
        values = {
            argument.name.value: value_from_ast_untyped(argument.value, self.variables)
            for argument in arguments or ()
        }
        return _without_undefined(values)


def _without_undefined(values: dict) -> dict:
    return {
        name: _without_undefined(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not Undefined
    }
