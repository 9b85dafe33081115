"""The only code that opens image, header, manifest or model files."""
