"""Gymnasium environments: making, checking and watching them."""
