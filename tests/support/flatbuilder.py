"""A builder that leaves its file in the workspace itself, as that of Containerfiles does."""

from __future__ import annotations

from cc_images.builders.base import BuildInputs, Built
from cc_images.model.spec import BuildSpec
from cc_images.store.run_context import TaskContext
from cc_images.testing import FakeBuilder


class FlatBuilder(FakeBuilder):
    """A builder without a folder of its own."""

    def build(self, spec: BuildSpec, inputs: BuildInputs, context: TaskContext) -> Built:
        """Write the bytes."""
        inputs.workspace.mkdir(parents=True, exist_ok=True)
        file = inputs.workspace / "disk.raw"
        file.write_bytes(self.content)
        return Built(file=file, upstream={})
