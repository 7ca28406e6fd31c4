#!/bin/sh
# Creates Temporal's two databases and brings their schemas to the version of this image. Every step may be repeated, so
# it runs at every start and is also the schema part of an upgrade.
set -eu
SQL_PASSWORD="$(cat /run/secrets/temporal_db_password)"
export SQL_PASSWORD
schema=/etc/temporal/schema/postgresql/v12

prepare() {
  database="$1"
  folder="$2"
  set -- --plugin postgres12 --endpoint postgresql --port 5432 --user temporal --database "$database"
  temporal-sql-tool "$@" create
  temporal-sql-tool "$@" setup-schema --version 0.0
  temporal-sql-tool "$@" update-schema --schema-dir "$schema/$folder/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility
