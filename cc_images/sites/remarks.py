"""Remarks for people on one name of a site: the differences from the state that cc-images made, and steps left out."""

from __future__ import annotations

from cc_images.errors import CCImagesError
from cc_images.sites.base import Act, Delete, Describe, Give, Share
from cc_images.sites.entry import Entry, has_archive_name
from cc_images.sites.view import View


def remarks(view: View, last: str = "") -> list[str]:
    """Return a remark each; `last` is the version that this store has published last, empty if it has none."""
    holder = view.holder
    found = _on_holder(holder, view.wish.name, last) if holder is not None else []
    if not view.holders and last:
        found.append(f"no image has the name; version {last} was published")
    if not view.holders and any(view.predecessor(staged) is not None for staged in view.staged):
        found.append("a publication was interrupted between its renames: the next push finishes it")
    found += [
        f"{'uploading' if each.status in ('queued', 'saving') else 'uploaded'} since {each.created:%Y-%m-%d %H:%M} "
        f"by run {view.run_of(each) or '?'}, not published"
        for each in view.staged
    ]
    return found + [
        f"version archived as one of {view.wish.name} is named {entry.name} now, and is kept"
        for entry in view.seen
        if entry.made and entry.archives == view.wish.name != entry.name and not has_archive_name(entry, view.wish.name)
    ]


def disorder(view: View) -> list[str]:
    """Return what only a person can put in order."""
    if len(view.holders) < 2:
        return []
    return [f"{len(view.holders)} images have this name: {', '.join(entry.id for entry in view.holders)}"]


def no_failure(step: Act, error: CCImagesError) -> str | None:
    """Return the note for a step that a push can do without; None for one that it cannot."""
    match step:
        case Delete(entry=entry):
            return f"{entry.name} ({entry.id}) cannot be removed: {error.message}"
        case Share(project=project):
            return f"it is not shared with {project}: {error.message}"
        case Give(owner=owner):
            return f"it does not belong to project {owner}, as the image before it does: {error.message}"
        case Describe(entry=entry) if entry.target:
            return f"it has not got what others have set on the image before it: {error.message}"
        case Describe(entry=entry) if entry.archives:
            return f"{entry.name} cannot be changed: {error.message}"
    return None


def _on_holder(holder: Entry, name: str, last: str) -> list[str]:
    version = holder.properties.get("build-version", "")
    found = ["deactivated"] if holder.status == "deactivated" else []
    found += ["hidden"] if holder.hidden else []
    if holder.archives == name:
        found.append("rolled back by hand")
    elif holder.displaced:
        found.append("another file was put in the place of the published one")
    elif not holder.made:
        found.append("not made by cc-images")
    if last and version and version != last:
        found.append(f"this store published {last} last")
    return found
