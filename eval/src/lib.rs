//! Measures top-1 and top-k accuracy of ONNX classifiers.
