"""Images that a Containerfile describes, built by buildah in the sandbox.

containerfile  instructions and stages of the file
ignore         files that an ignore file leaves out of the context
context        the folder that a build gets
shown          files that commands see and the image does not have
named          other folders of which it takes files
spec, recipes  what a build is made of, and its key
build, result  one build, and its result as an image
builder        all of it as a builder
"""
