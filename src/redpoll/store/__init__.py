"""The catalog's store (intentions, versioned) and the files that its versions are made of."""
