"""Pure functions: tensors in, tensors out. Shapes use the letters of docs/notation.md."""
