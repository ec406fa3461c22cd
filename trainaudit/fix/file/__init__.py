"""Changes made in an ONNX file: weights drawn anew and nodes put in, taken out or exchanged; all other bytes stay what they are.

`indexing` reads where everything stands, `weights`, `gates` and `rewiring` note the changes in an `Editing`, `saving` writes the new file.
"""
