"""Codecs: raw input to tensors and back."""
