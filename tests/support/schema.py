"""The interface of a service against its OpenAPI document: requests of every form, and what each answer may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance


def operations(document: Any) -> list[tuple[str, Any]]:
    """Return the operations of a document with their names; those that delete something come last."""
    found = [result.ok() for result in document.get_all_operations()]
    return sorted(((f"{each.method.upper()} {each.path}", each) for each in found), key=lambda pair: pair[0][0] == "D")


def check(operation: Any, known: Mapping[str, str], authorization: str, examples: int, **how: Any) -> None:
    """Send requests to an operation that its schema allows, and some that it does not, and validate each answer.

    `known` has values for parameters of paths, and `image`: for half of the requests they are put in. Those that the
    document allows may still be refused: it cannot say which images there are. `how`: as for `Case.call_and_validate`.
    """
    for mode in GenerationMode:
        if (strategy := _strategy(operation, mode)) is not None:
            for given_values in ({}, known):
                _checked(strategy, given_values, authorization, examples, **how)


def _strategy(operation: Any, mode: GenerationMode) -> Any:
    """Return requests; None for wrong ones of an operation in which nothing can be wrong."""
    parameters = [*operation.path_parameters, *operation.query, *operation.body]
    return operation.as_strategy(generation_mode=mode) if mode.is_positive or parameters else None


def _checked(strategy: Any, known: Mapping[str, str], authorization: str, examples: int, **how: Any) -> None:
    @settings(max_examples=examples, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])  # fmt: skip
    @given(case=strategy)
    def each(case: Any) -> None:
        for name in {*known} & {*case.path_parameters}:
            case.path_parameters[name] = known[name]
        if (
            "image" in known
            and isinstance(case.body, dict)
            and "images" in case.body
            and case.meta.generation.mode.is_positive
        ):
            case.body["images"] = [known["image"]]
        excluded = [positive_data_acceptance, *how.get("excluded_checks", [])]
        case.call_and_validate(headers={"Authorization": authorization}, **how | {"excluded_checks": excluded})

    each()
