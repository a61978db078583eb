# Before any test imports NumPy, torch or Ray: distpg pins their numerics, and Ray reads whether it needs a
# token, which works only until they are loaded.
import os

import distpg

assert distpg
os.environ.setdefault("RAY_AUTH_MODE", "token")
