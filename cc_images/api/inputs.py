"""The inputs of a run's tasks, from the configuration and the snapshot of the world."""

from __future__ import annotations

from cc_images.builders import provenance
from cc_images.config.loader import Config
from cc_images.engine.inputs import Inputs, Variables
from cc_images.model.plan import Request
from cc_images.model.swift_address import SwiftAddress
from cc_images.planner.snapshot import Snapshot


def inputs_of(request: Request, config: Config, snapshot: Snapshot, offline: bool) -> Inputs:
    """Return what the tasks of a plan need besides the plan."""

    def variables(tag: str) -> Variables:
        image = config.images[tag]
        return Variables(values=config.variables(image), declared=config.declared(image))

    return Inputs(
        sites={site.name: site for site in snapshot.fleet},
        clouds={
            site.name: site.cloud or SwiftAddress.parse(site.catalogue).cloud
            for site in config.sites
            if site.cloud or (site.catalogue and not site.folder)
        },
        layers={key: layer.job for key, layer in snapshot.layer_states.items()},
        upstream=snapshot.upstream,
        details=snapshot.details,
        variables=variables,
        network=config.network,
        origin=lambda: provenance.origin(config.files["images.yaml"].parent),
        parents={tag: image.depends[0] for tag, image in config.images.items() if image.depends},
        debug=request.debug,
        keep_failed=request.keep_failed,
        sign=config.sign,
        jobs=request.jobs,
        fail_fast=request.fail_fast,
        offline=offline,
    )
