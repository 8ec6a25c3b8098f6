"""Spack environments as images: concretized once, compiled into the build cache, installed into a container.

environment    the checked spack.yaml, and what a machine adds
lock           packages of a spack.lock
generated      the files that a build gets
spec, recipes  what a build is made of, and its key
build          one concretization, or one image
cache          the signed build cache of packages
builder        all of it as a builder
"""
