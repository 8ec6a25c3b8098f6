"""Statements about builds: what a version consists of and what it was made from, to be signed.

in-toto Statement v1 with SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance), as canonical JSON: equal builds
have equal statements.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from cc_images.model.bill_forms import FORMS
from cc_images.model.builds import Build
from cc_images.model.catalog import Json

STATEMENT, SIGNATURE = "build-statement", "build-signature"
"""Properties of a published image that hold its statement and the signature over that."""

KIND = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:cc-images:build:1"

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

LARGEST = 32 << 10
"""Bytes of a statement that a property holds."""


def statement(build: Build, name: str, details: Json, bills: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return what is said of a build that is published under a name; `details` are those of its record.

    It is about the build's files, and its bills of materials by form.
    """
    subjects = [
        {"name": f"{name}.{out.suffix}", "digest": {"sha256": output.digest, "sha512": output.sha512}}
        for out, output in sorted(build.outputs.items())
    ]
    subjects += [
        {
            "name": f"{name}.{FORMS[form]}.json",
            "digest": {each: hashlib.new(each, text.encode()).hexdigest() for each in ("sha256", "sha512")},
        }
        for form, text in sorted(bills.items())
    ]
    sources = [{"uri": f"element-source:{each}", "digest": {"gitCommit": commit}}
               for each, commit in sorted(details.get("sources", {}).items())]  # fmt: skip
    upstream = [{"uri": address, "digest": {"sha256": digest}} for address, digest in sorted(build.upstream.items())]
    finished = {"finishedOn": details["finished"]} if details.get("finished") else {}
    return canonical(
        {
            "_type": KIND,
            "subject": subjects,
            "predicateType": PREDICATE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {"image": build.tag, "architecture": build.arch},
                    "internalParameters": {"key": build.key, "recipeKey": build.recipe_key},
                    "resolvedDependencies": [*sources, *_inputs(details.get("recipe", {})), *upstream],
                },
                "runDetails": {
                    "builder": {"id": "urn:cc-images:dib", **_versions(details.get("recipe", {}))},
                    "metadata": {"invocationId": build.version, "startedOn": build.created.isoformat(), **finished},
                },
            },
        }
    )


def _inputs(recipe: Json) -> list[Json]:
    """Return the inputs that a recipe names by digest: its elements, its downloads, the layer that it starts from."""
    found = {f"element:{name}": digest for name, digest in recipe.get("elements", {}).items()}
    for variable, said in recipe.get("artifacts", {}).items():
        name, _, digest = str(said).removesuffix(" as url").rpartition(" ")
        found[f"artifact:{variable}/{name}"] = digest
    if recipe.get("parent"):
        found["layer-recipe:"] = recipe["parent"]
    return [
        {"uri": uri, "digest": {"sha256": digest}} for uri, digest in sorted(found.items()) if _SHA256.match(digest)
    ]


def _versions(recipe: Json) -> Json:
    """Return the version of the program that ran the recipe, if it says so."""
    version = recipe.get("tools", {}).get("diskimage-builder", "")
    return {"version": {"diskimage-builder": version}} if version else {}


def canonical(plain: Json) -> str:
    """Return JSON in the one form that is signed."""
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digests(text: str, algorithm: str = "sha256") -> Mapping[str, str]:
    """Return the digest of each file that a statement is about, by its name. Raises ValueError for no statement."""
    try:
        said = json.loads(text)
        if said["_type"] != KIND:
            raise ValueError("it is no in-toto statement")
        return {each["name"]: each["digest"][algorithm] for each in said["subject"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("it is no in-toto statement") from error


def identity(text: str) -> tuple[str, str]:
    """Return the version and the architecture that a statement is about. Raises ValueError for no statement of ours."""
    try:
        said = json.loads(text)["predicate"]
        architecture = said["buildDefinition"]["externalParameters"]["architecture"]
        return said["runDetails"]["metadata"]["invocationId"], architecture
    except (KeyError, TypeError) as error:
        raise ValueError("it is no statement about a build") from error
