"""`python -m cc_images` is the same as `cc-images`."""

from cc_images.cli.main import main

if __name__ == "__main__":
    main()
