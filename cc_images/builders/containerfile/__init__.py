"""Images that a Containerfile describes, built by buildah in the sandbox.

containerfile  instructions and stages of the file
ignore         files that an ignore file leaves out of the context
context        the folder that a build gets
spec, recipes  what a build is made of, and its key
build, archive one build, and its result as an image
builder        all of it as a builder
"""
