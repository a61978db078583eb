# Before any test imports NumPy or torch: distpg pins their numerics, which works only until they are loaded.
import distpg

assert distpg
