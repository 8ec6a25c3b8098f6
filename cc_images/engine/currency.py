"""The gate for security: a site that says so gets no version that lacks security updates."""

from __future__ import annotations

from cc_images import clock
from cc_images.errors import CCImagesError, Reason
from cc_images.model.builds import Build
from cc_images.model.plan import PushJob
from cc_images.model.updates import is_waived
from cc_images.sources.pending import Asked
from cc_images.store.run_context import TaskContext


def require_current(build: Build, job: PushJob, context: TaskContext) -> None:
    """Raise CCImagesError when a version lacks security updates that its repositories have, or nobody can say.

    What was built in this run has what they had when it began.
    """
    if build.version == context.run.run.version or job.insist:
        return
    context.step("asking for security updates")
    asked = Asked.by_now(context.store, [build], offline=context.run.settings.offline, stop=context.stop)
    try:
        lacks = asked.updates(build)
    except CCImagesError as error:
        raise CCImagesError(
            f"nobody can say whether version {build.version} of {job.tag} lacks security updates: {error.message}",
            hint="try again when its repositories answer; --force publishes it all the same",
            reason=Reason.INSECURE,
            temporary=True,
        ) from error
    today = clock.now().date()
    waivers = [*job.waivers.items()]
    if names := [each.name for each in lacks if each.urgent and not is_waived(each, waivers, today)]:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise CCImagesError(
            f"version {build.version} of {job.tag} lacks security updates: {', '.join(names[:5])}{more}",
            hint=f"-b -p builds it with them; `ignore` in images.yaml lets one wait, see `check-updates {job.tag}`",
            reason=Reason.INSECURE,
        )
