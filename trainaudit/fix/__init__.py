"""What is changed to mend a model: on a copy that is trained (`module`), in an ONNX file (`file`), in the user's Python (`source`)."""
