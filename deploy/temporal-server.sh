#!/bin/sh
# The server takes its password from the environment only; it is read from the secret here, so that no configuration of
# a container holds it.
set -eu
POSTGRES_PWD="$(cat /run/secrets/temporal_db_password)"
export POSTGRES_PWD
exec /etc/temporal/entrypoint.sh
