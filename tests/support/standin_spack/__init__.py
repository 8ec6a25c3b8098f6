"""A stand-in for Spack 1.2: the commands that builds of images give, for three small packages. It compiles nothing.

    spack [-C SCOPE]... [-c KEY:VALUE]... [-e FOLDER] concretize | install | gc | gpg trust FILE | python SCRIPT...

`tests/unit/builders/test_spack_standin.py` holds it to the real one's behaviour. It shares no code with cc-images,
takes JSON for configuration, and knows one version of each package. CC_STANDIN_SPACK names a fault (see `faults`).
"""
