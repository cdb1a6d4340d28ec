"""Batched environments in torch, with thin Gymnasium faces."""
