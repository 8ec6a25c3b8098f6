"""Values only: the catalogue, plans, recipes, records.

element     a folder of hooks that diskimage-builder (dib) runs; `content` elements make a root tree, `disk` elements
            turn the tree into a bootable disk
image       an entry of the catalogue: a name, its elements, and what it may be built for
tag         an image's name in lower case, as typed on the command line
recipe      everything that determines one build of one image for one architecture
key         the name of a recipe: sha256 of its canonical JSON; it names the request, not the result
digest      the name of bytes: sha256 of a file's content
layer       the finished root tree of an image's content elements, stored once; builds of its children start from it
build       a finished, recorded result of a recipe: a version and its outputs
output      one file of a build, in one format
artifact    a file that a build needs and that no package repository has
site        a place that images are published to: a folder, a cloud's Glance, or a container of its object store
"""
