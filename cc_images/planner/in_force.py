"""The build in force: which stored build a push takes, and why none serves the present inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cc_images.builders.resolved import Resolver
from cc_images.errors import Reason, UserError
from cc_images.model.builds import Build, Layer
from cc_images.model.catalog import Arch, Image, Json
from cc_images.model.plan import Request
from cc_images.model.recipe import Recipe, differences
from cc_images.store.records import Store

Serving = Callable[[Store, str, Sequence[Build], str], Build | Layer | None]
"""Says which of the stored builds serves a recipe key, given the version in force; see `freshness.serving`."""


def to_push(
    image: Image, arch: Arch, request: Request, store: Store, resolver: Resolver, serving: Serving
) -> Build | None:
    """Return the stored build that a push takes: the named version, or the one that serves the present inputs.

    None for an image that was never built. Nothing is asked: the state of upstream is that of the last look. Raises
    UserError when the stored builds have other inputs: after a change, or from another catalogue.
    """
    builds = list(store.builds(image.tag, arch))
    if request.version:
        if (named := next((each for each in builds if each.version == request.version), None)) is None:
            known = ", ".join(each.version for each in builds) or "none"
            raise UserError(
                f"there is no version {request.version} of {image.tag} for {arch}: the store has {known}",
                hint="name one of these; a build by force (-f) replaces all before it",
            )
        return named
    if not builds:
        return None
    try:
        resolved = resolver.resolve(image, arch)
    except UserError:  # its elements are not here, so nobody can say what the inputs are
        return store.in_force(image.tag, arch)
    match = serving(store, resolved.spec.recipe_key, builds, store.current(image.tag, arch))
    if match is None:
        newest = store.in_force(image.tag, arch) or builds[0]
        if "recipe" not in store.details(newest):
            return newest
        own = ", ".join(changes(store.details(newest), resolved.recipe, resolver)[:3])
        raise UserError(
            f"no stored build of {image.tag} for {arch} serves the present inputs; since {newest.version}: {own}",
            hint=f"-b -p builds and pushes it; -p --version {newest.version} pushes what is there",
            reason=Reason.NOT_IN_FORCE,
        )
    assert isinstance(match, Build)
    return match


def changes(details: Json, recipe: Recipe, resolver: Resolver) -> tuple[str, ...]:
    """Return the inputs in which a recipe differs from what a stored build was made of, one short phrase each."""
    if "recipe" not in details:
        return ("its record does not say what it was made of",)
    old = dict(details["recipe"]) | {"elements": details.get("files", {}), "upstream": {}}
    new = recipe.as_json() | {"elements": resolver.files(recipe), "upstream": {}}
    found = differences(old, new)
    # the recipe key of its parent's layer says nothing that the elements and variables do not say
    return tuple(each for each in found if not each.startswith("parent ")) or found
