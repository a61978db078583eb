# Before any test imports NumPy or torch: distpg pins their numerics, which works only until they are loaded.
# And one token for all clusters of the tests, which those that connect from processes of their own need too.
import os
import secrets

import distpg

assert distpg
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
