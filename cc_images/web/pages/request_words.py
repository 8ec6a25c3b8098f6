"""Words for requests: how each is named on pages, and what can be sent again."""

from __future__ import annotations

from urllib.parse import urlencode

from cc_images.model.catalog import Json
from cc_images.web.commands import OWN
from cc_images.web.decisions import Status
from cc_images.web.pages.request_forms import FORMS
from cc_images.web.views import BuildView

FIRST = ("images", "architectures", "workflow", "step id", "version")
"""Parts of a request that are shown first."""

ENDS = (Status.FINISHED, Status.FAILED, Status.CANCELLED)


def is_over(build: BuildView) -> bool:
    """Say whether a build will not go on."""
    return build.status in ENDS


def title(build: BuildView) -> str:
    """Return what was requested, in a few words."""
    said = build.request
    if build.kind == "push":
        return f"Publish {', '.join(said['images'])} {said['version']}"
    if "images" in said:
        return ", ".join(said["images"])
    return " / ".join(str(said[each]) for each in ("workflow", "step_id", "version") if said.get(each)) or build.kind


def detail(build: BuildView) -> str:
    """Return what tells a request from others of the same title: its variant, and the version that it has made."""
    said, words = build.request, list[str]()
    if build.kind == "machine":
        machine = said.get("machine", {})
        parts = (machine.get(each) for each in ("platform", "architecture", "container_engine", "mpi", "gpu"))
        words += [str(each) for each in parts if each]
        words += [f"commit {str(said['commit'])[:12]}"] if said.get("commit") else []
    else:
        words += ["all architectures"] if said.get("architectures") == [] else list(said.get("architectures", []))
    words += ["by force"] if said.get("force") else []
    words += ["publishes"] if said.get("push") and build.kind != "push" else []
    versions = sorted({each.version for each in build.images} - {said.get("version")})
    return " · ".join([*words, *(f"version {each}" for each in versions)])


def facts(build: BuildView) -> list[tuple[str, str]]:
    """Return the parts of a request, a name and a text each."""
    found = [(name.replace("_", " "), text) for name, text in _flat(build.request) if text]
    return sorted(found, key=lambda pair: FIRST.index(pair[0]) if pair[0] in FIRST else len(FIRST))


def again(build: BuildView) -> str:
    """Return the address of the form in which the same request stands; empty: no form can say all of it."""
    known = {field.name for field in FORMS.get(build.kind, ())}
    said = [(name, value) for name, value in _values(build.request) if value and name not in OWN]
    if not known or any(name not in known for name, _ in said):
        return ""
    fields = [(name, "on" if value is True else str(value)) for name, value in said]
    return f"/new?{urlencode([('kind', build.kind), *fields])}"


def _values(said: Json, prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in said.items():
        if isinstance(value, dict):
            found += _values(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            found += [(prefix + name, each) for each in value]
        else:
            found.append((prefix + name, value))
    return found


def _flat(said: Json) -> list[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for name, value in _values(said):
        text = "yes" if value is True else "" if value is False or value is None else str(value)
        found.setdefault(name.rpartition(".")[2], []).append(text)
    return [(name, ", ".join(filter(None, texts))) for name, texts in found.items()]
