# What Ray and distpg need in the environment, on every node: read by login shells, and so by `ray start`,
# `ray exec`, `ray attach` and, through `ray start`, by jobs.
_bin="$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")/.venv/bin"
case ":$PATH:" in
    *":$_bin:"*) ;;
    *) export PATH="$_bin:$PATH" ;;
esac
unset _bin
# Only who has the token of ~/.ray/auth_token may connect.
export RAY_AUTH_MODE=token
# A host that goes silent is noticed after 10 s; Ray's defaults make whoever waits for it hang for minutes.
export RAY_grpc_client_keepalive_time_ms=5000
export RAY_grpc_client_keepalive_timeout_ms=5000
# PyTorch publishes builds without CUDA, gigabytes smaller, in an index of their own (see its installation page):
# export PIP_EXTRA_INDEX_URL=...
