"""The program topk-train, which trains image classifiers for top-k accuracy.

It runs as ``topk-train`` or ``python -m topk_train``.
"""
