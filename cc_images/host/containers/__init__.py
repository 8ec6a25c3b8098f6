"""Images for containers as files: trees as layers, layers and a configuration as the archive of an image.

members  the files of a tree, one after the other
layer    a tree, or what another program has made, as a layer that is the same for the same files
image    an archive of layers and a configuration
archive  what is in an archive; its tree
"""
