"""cc-images turns a catalogue of operating-system images into tested, published images."""
