"""The elements that come with cc-images; a package only so that the wheel carries them."""
